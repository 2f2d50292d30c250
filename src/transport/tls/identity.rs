//! The server's certificate: given or made, replaced without a restart.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::authority::Authority;
use super::pem::Pair;
use super::{Error, Pin, pin, protocols, provider};
use crate::config::net::TlsFiles;

/// How often the files are looked at, and the age of a certificate that was made.
const CHECK_EVERY: Duration = Duration::from_secs(30);

/// Who the server is. Configurations made from it present the certificate of the moment.
pub struct ServerIdentity {
    source: Source,
    current: Arc<Current>,
    /// The files as they were last read, good or bad: a bad one is reported once.
    seen: Mutex<Option<Pair>>,
}

enum Source {
    Files(TlsFiles),
    Made(Authority),
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerIdentity")
            .field("pin", &self.pin())
            .finish_non_exhaustive()
    }
}

impl ServerIdentity {
    /// The certificate and key in `files`.
    ///
    /// # Errors
    /// A file can not be read, is not PEM, or the two do not belong together.
    pub fn from_files(files: TlsFiles) -> Result<Self, Error> {
        Self::new(Source::Files(files))
    }

    /// An authority in `dir`, and a certificate by it for `names` (host names and IP addresses) and the names that every
    /// host has for itself. What is missing is made.
    ///
    /// # Errors
    /// A name is none, `dir` can not be written, or what is in it can not be used.
    pub fn made_in(dir: &Path, names: &[String]) -> Result<Self, Error> {
        Self::new(Source::Made(Authority::open(
            dir,
            names,
            SystemTime::now(),
        )?))
    }

    fn new(source: Source) -> Result<Self, Error> {
        let pair = source.read(SystemTime::now())?;
        let current = Arc::new(Current(RwLock::new(source.present(&pair)?)));
        Ok(Self {
            source,
            current,
            seen: Mutex::new(Some(pair)),
        })
    }

    /// Looks at the files again, and at the age of a certificate that was made. Whether there is a new certificate.
    ///
    /// # Errors
    /// The new files are of no use, which is said once; the old certificate stays.
    pub fn reload(&self) -> Result<bool, Error> {
        self.reload_at(SystemTime::now())
    }

    fn reload_at(&self, now: SystemTime) -> Result<bool, Error> {
        let pair = self.source.read(now)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.as_ref() == Some(&pair) {
            return Ok(false);
        }
        let presented = self.source.present(&pair);
        *seen = Some(pair);
        *self
            .current
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner) = presented?;
        Ok(true)
    }

    /// Keeps the certificate up to date until the future is dropped.
    pub async fn watch(self: Arc<Self>) {
        let mut last_error = String::new();
        loop {
            tokio::time::sleep(CHECK_EVERY).await;
            let identity = Arc::clone(&self);
            let outcome = tokio::task::spawn_blocking(move || identity.reload()).await;
            let error = match outcome {
                Ok(Ok(changed)) => {
                    if changed {
                        tracing::info!(pin = %self.pin(), "a new server certificate is in use");
                    }
                    String::new()
                }
                Ok(Err(error)) => error.to_string(),
                Err(panic) => panic.to_string(),
            };
            if !error.is_empty() && error != last_error {
                tracing::warn!(%error, "the server certificate was not replaced; the one in use stays");
            }
            last_error = error;
        }
    }

    /// The certificate of the authority that was made, for clients to trust; none if files were given.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&str> {
        match &self.source {
            Source::Files(_) => None,
            Source::Made(authority) => Some(authority.pem()),
        }
    }

    /// What agents pin: the key of the authority that was made, or of the server's own certificate if files were given.
    #[must_use]
    pub fn pin(&self) -> Pin {
        self.current
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .pin
    }

    /// When the certificate in use ends.
    #[must_use]
    pub fn expires(&self) -> SystemTime {
        self.current
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .expires
    }

    /// A configuration for TLS over TCP. `alpn` in the order of preference.
    ///
    /// # Errors
    /// The TLS provider lacks what TLS needs.
    pub fn server_config(&self, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, Error> {
        self.config(rustls::DEFAULT_VERSIONS, alpn)
    }

    /// A configuration for QUIC, which needs TLS 1.3. Early data is refused: it can be replayed.
    ///
    /// # Errors
    /// The TLS provider lacks what TLS needs.
    pub fn quic_config(&self, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, Error> {
        self.config(&[&rustls::version::TLS13], alpn)
    }

    fn config(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        alpn: &[&[u8]],
    ) -> Result<Arc<ServerConfig>, Error> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = protocols(alpn);
        config.max_early_data_size = 0;
        Ok(Arc::new(config))
    }
}

impl Source {
    fn read(&self, now: SystemTime) -> Result<Pair, Error> {
        match self {
            Self::Files(files) => Pair::read(&files.certificate, &files.key),
            Self::Made(authority) => authority.server(now),
        }
    }

    fn present(&self, pair: &Pair) -> Result<Presented, Error> {
        let key = pair.certified()?;
        let pin = match self {
            Self::Files(_) => Pin::of(&key.cert[0])?,
            Self::Made(authority) => authority.pin(),
        };
        Ok(Presented {
            expires: expiry(&key.cert[0])?,
            key: Arc::new(key),
            pin,
        })
    }
}

#[derive(Debug)]
struct Presented {
    key: Arc<CertifiedKey>,
    pin: Pin,
    expires: SystemTime,
}

fn expiry(certificate: &CertificateDer<'_>) -> Result<SystemTime, Error> {
    let seconds = pin::parse(certificate)?.validity().not_after.timestamp();
    let since_epoch = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    Ok(SystemTime::UNIX_EPOCH + since_epoch)
}

/// The certificate of the moment, whatever name the client asks for: agents may dial an address.
#[derive(Debug)]
struct Current(RwLock<Presented>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(
            &self.0.read().unwrap_or_else(PoisonError::into_inner).key,
        ))
    }
}

#[cfg(test)]
mod tests;
