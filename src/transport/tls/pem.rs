//! Certificates and keys in PEM text, and files that are replaced whole.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::{Error, provider};

/// Who may read a file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Readers {
    Everyone,
    Owner,
}

pub(super) fn read(file: &Path) -> Result<Vec<u8>, Error> {
    fs::read(file).map_err(io_error(file))
}

/// Like [`read`], but a file that is not there is none.
pub(super) fn read_if_there(file: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(file)(error)),
    }
}

/// Replaces `file` as a whole: a reader, or a crash, sees the old content or the new.
pub(super) fn replace(file: &Path, content: &str, readers: Readers) -> Result<(), Error> {
    let next = file.with_extension("new");
    let write = || {
        // A file left by a crash may have other permissions.
        match fs::remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mode = match readers {
            Readers::Everyone => 0o644,
            Readers::Owner => 0o600,
        };
        let mut opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&next)?;
        opened.write_all(content.as_bytes())?;
        opened.sync_all()?;
        fs::rename(&next, file)
    };
    write().map_err(io_error(file))
}

fn io_error(file: &Path) -> impl Fn(io::Error) -> Error {
    let file = file.to_owned();
    move |source| Error::Io {
        file: file.clone(),
        source,
    }
}

/// All certificates in `pem`, the content of `file`; at least one.
pub(super) fn certificates(file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| Error::Pem {
            file: file.to_owned(),
            message: error.to_string(),
        })?;
    if certificates.is_empty() {
        return Err(Error::Nothing {
            file: file.to_owned(),
            what: "certificate",
        });
    }
    Ok(certificates)
}

/// The content of a certificate's file and of its key's, which may be the same file.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) certificate: (PathBuf, Vec<u8>),
    pub(super) key: (PathBuf, Vec<u8>),
}

impl Pair {
    pub(super) fn read(certificate: &Path, key: &Path) -> Result<Self, Error> {
        Ok(Self {
            certificate: (certificate.to_owned(), read(certificate)?),
            key: (key.to_owned(), read(key)?),
        })
    }

    /// Chain and key, checked to belong together.
    pub(super) fn certified(&self) -> Result<CertifiedKey, Error> {
        let (file, pem) = &self.certificate;
        let chain = certificates(file, pem)?;
        let (key_file, key_pem) = &self.key;
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| match error {
            rustls::pki_types::pem::Error::NoItemsFound => Error::Nothing {
                file: key_file.clone(),
                what: "private key",
            },
            // The error of a malformed key repeats none of its text.
            error => Error::Pem {
                file: key_file.clone(),
                message: error.to_string(),
            },
        })?;
        CertifiedKey::from_der(chain, key, &provider()).map_err(|source| Error::KeyPair {
            certificate: file.clone(),
            key: key_file.clone(),
            source,
        })
    }
}
