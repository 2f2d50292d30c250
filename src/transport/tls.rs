//! Certificates and trust: who the server is, and how a client knows it.
//!
//! One TLS provider, aws-lc-rs, named in every configuration, so that no process-wide default matters. It offers the
//! post-quantum hybrid X25519MLKEM768 first.

mod authority;
mod client;
mod identity;
mod pem;
mod pin;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use client::{Trust, client_config, web_client_config};
pub use identity::ServerIdentity;
pub use pin::Pin;

/// Why there is no certificate or no trust. The messages name the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate is not well-formed.
    #[error("malformed certificate: {0}")]
    Certificate(String),
    /// rustls refused a configuration.
    #[error("TLS: {0}")]
    Config(#[from] rustls::Error),
    /// The certificate could not be made.
    #[error("cannot make a certificate in {}: {source}", dir.display())]
    Generate {
        /// The state directory.
        dir: PathBuf,
        /// What rcgen said.
        source: rcgen::Error,
    },
    /// A certificate and its key do not belong together, or are of no use.
    #[error("certificate {} and key {}: {source}", certificate.display(), key.display())]
    KeyPair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
    /// Not a name or address that a certificate can be for.
    #[error("`{0}` is not a host name or IP address that a certificate can be made for")]
    Name(String),
    /// A file has no PEM section of the wanted kind.
    #[error("{} holds no {what} in PEM form", file.display())]
    Nothing {
        /// The file.
        file: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// A file is not PEM.
    #[error("{}: malformed PEM: {message}", file.display())]
    Pem {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The text is no pin.
    #[error("`{0}` is not a pin: write sha256: and 64 hexadecimal digits, as in the join command")]
    Pin(String),
    /// A file could not be read or written.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system has no usable certificate authorities.
    #[error(
        "this system has no certificate authorities ({0}): install them, or name a CA file or a pin"
    )]
    SystemRoots(String),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn protocols(alpn: &[&[u8]]) -> Vec<Vec<u8>> {
    alpn.iter().map(|name| name.to_vec()).collect()
}

#[cfg(test)]
mod tests;
