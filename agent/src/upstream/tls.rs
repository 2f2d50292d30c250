//! Trust, tokens and what a failed TLS handshake means.

use std::path::Path;
use std::sync::Arc;

use http::HeaderValue;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::credentials::{Error, Tls};

/// The only protocol spoken to the API server: its connections are pooled and upgraded by HTTP/1.1's rules.
const ALPN: &[u8] = b"http/1.1";

pub(super) fn read(field: &'static str, file: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(file).map_err(|source| Error::Read {
        field,
        file: file.to_owned(),
        source,
    })
}

/// A configuration that trusts the certificates in `pem`, which `file` holds, and nothing else.
pub(super) fn trusting(
    field: &'static str,
    file: &Path,
    pem: &[u8],
) -> Result<ClientConfig, Error> {
    let unusable = |reason: String| Error::Unusable {
        field,
        file: file.to_owned(),
        reason,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("holds no certificate in PEM form".to_owned()));
    }
    Ok(ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Adds what every connection to an API server has in common.
pub(super) fn finish(mut config: ClientConfig, inputs: Option<Vec<u8>>) -> Tls {
    config.alpn_protocols = vec![ALPN.to_vec()];
    Tls {
        inputs,
        config: Arc::new(config),
    }
}

/// The `Authorization` header with the token that `file` holds.
pub(super) fn bearer_file(field: &'static str, file: &Path) -> Result<HeaderValue, Error> {
    let unusable = |reason: &str| Error::Unusable {
        field,
        file: file.to_owned(),
        reason: reason.to_owned(),
    };
    let text = String::from_utf8(read(field, file)?).map_err(|_| unusable("is not text"))?;
    bearer(&text).ok_or_else(|| unusable("holds no token, or one that can not stand in a header"))
}

pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    let token = token.trim();
    if token.is_empty() {
        return None;
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The reason when a handshake failed because one side does not trust the other.
pub(super) fn distrust(error: &std::io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    match error {
        rustls::Error::InvalidCertificate(_)
        | rustls::Error::NoCertificatesPresented
        | rustls::Error::AlertReceived(_)
        | rustls::Error::PeerIncompatible(_) => Some(error.to_string()),
        _ => None,
    }
}
