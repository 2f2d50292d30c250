//! How a client knows the server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::pin::Verifier;
use super::{Error, Pin, pem, protocols, provider};

/// Whom to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// The authorities in a PEM file, and no other.
    CaFile(PathBuf),
    /// One public key: the server's own, or that of an authority in the chain it sends.
    Pin(Pin),
    /// The authorities that this system trusts.
    System,
}

/// A client's configuration: TLS 1.3, `alpn` in the order of preference.
///
/// # Errors
/// The authorities can not be read, or there are none.
pub fn client_config(trust: &Trust, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, Error> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = match trust {
        Trust::CaFile(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in pem::certificates(file, &pem::read(file)?)? {
                roots.add(certificate)?;
            }
            builder.with_root_certificates(roots)
        }
        Trust::Pin(pin) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier {
                pin: *pin,
                provider,
            })),
        Trust::System => builder.with_root_certificates(system_roots()?),
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = protocols(alpn);
    Ok(Arc::new(config))
}

/// The configuration of a client of the web, where servers may have no TLS 1.3 yet: trusts the authorities of this
/// system and, when it is given, those in the PEM file `also`.
///
/// # Errors
/// The file can not be read or holds no certificate; or no authority is known at all.
pub fn web_client_config(also: Option<&Path>, alpn: &[&[u8]]) -> Result<ClientConfig, Error> {
    let mut roots = match (system_roots(), also) {
        // The file alone may be meant.
        (Err(_), Some(_)) => RootCertStore::empty(),
        (roots, _) => roots?,
    };
    if let Some(file) = also {
        for certificate in pem::certificates(file, &pem::read(file)?)? {
            roots.add(certificate)?;
        }
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols(alpn);
    Ok(config)
}

fn system_roots() -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems carry certificates that cannot be read by today's rules; the others are enough.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let why = found
            .errors
            .first()
            .map_or_else(|| "none was found".to_owned(), ToString::to_string);
        return Err(Error::SystemRoots(why));
    }
    Ok(roots)
}
