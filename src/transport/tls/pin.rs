//! Trust in one public key, by its hash.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Error;

/// The SHA-256 hash of a certificate's SubjectPublicKeyInfo, as text `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; 32]);

const PREFIX: &str = "sha256:";

impl Pin {
    /// The pin of a certificate.
    ///
    /// # Errors
    /// The certificate is malformed.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, Error> {
        Ok(Self(
            Sha256::digest(parse(certificate)?.public_key().raw).into(),
        ))
    }
}

/// Reads a certificate.
pub(super) fn parse<'c>(certificate: &'c CertificateDer<'_>) -> Result<X509Certificate<'c>, Error> {
    X509Certificate::from_der(certificate)
        .map(|(_, certificate)| certificate)
        .map_err(|error| Error::Certificate(error.to_string()))
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Pin {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        read(text.trim())
            .map(Self)
            .ok_or_else(|| Error::Pin(text.to_owned()))
    }
}

fn read(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix(PREFIX)?.as_bytes();
    let mut hash = [0; 32];
    if digits.len() != 2 * hash.len() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

impl Serialize for Pin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// Why a server is not the pinned one.
#[derive(Debug, thiserror::Error)]
#[error(
    "no certificate of the server has the pinned key {wanted}, its own has {found}: this is another server, or its authority was replaced; take the pin anew from the server itself"
)]
struct NotPinned {
    wanted: Pin,
    found: Pin,
}

/// Trusts the server whose own certificate has the pinned key, or whose chain leads to a certificate that has it. The
/// name, the validity, every signature of the chain and the handshake's own are checked as ever.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) pin: Pin,
    pub(super) provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = pin_of(end_entity)?;
        if found == self.pin {
            // Nobody else vouches for this key, so only what the certificate says of itself is left to check.
            check_validity(end_entity, now)?;
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        let pinned = intermediates
            .iter()
            .find(|certificate| pin_of(certificate) == Ok(self.pin));
        let pinned = pinned.ok_or_else(|| {
            other(NotPinned {
                wanted: self.pin,
                found,
            })
        })?;
        let mut roots = RootCertStore::empty();
        roots.add(pinned.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(other)?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn pin_of(certificate: &CertificateDer<'_>) -> Result<Pin, rustls::Error> {
    Pin::of(certificate).map_err(|_| CertificateError::BadEncoding.into())
}

fn check_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let certificate = parse(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let time = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if time < certificate.validity().not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if time > certificate.validity().not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> rustls::Error {
    // Not `CertificateError::Other`, which is printed as a Rust value and not as its message.
    rustls::Error::Other(OtherError(Arc::new(error)))
}
