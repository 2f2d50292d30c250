//! Certificate authorities and server certificates made for one test.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// A certificate authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Leaf {
    pub cert_pem: String,
    pub key_pem: String,
}

/// Where [`Leaf::write`] put a certificate, its key and its authority.
#[derive(Debug, Clone)]
pub struct Files {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// A new authority; nothing else trusts it.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self { issuer })
    }

    pub fn ca_pem(&self) -> String {
        self.issuer.pem()
    }

    /// A server certificate for this machine: `localhost`, `127.0.0.1` and `::1`.
    pub fn local_server(&self) -> Result<Leaf> {
        self.server(vec![
            SanType::DnsName("localhost".try_into()?),
            SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        ])
    }

    /// A server certificate for an address.
    pub fn server_at(&self, address: IpAddr) -> Result<Leaf> {
        self.server(vec![SanType::IpAddress(address)])
    }

    /// A server certificate for these names and addresses.
    pub fn server(&self, names: Vec<SanType>) -> Result<Leaf> {
        self.leaf("server", names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client certificate.
    pub fn client(&self, name: &str) -> Result<Leaf> {
        self.leaf(name, Vec::new(), ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn leaf(
        &self,
        name: &str,
        names: Vec<SanType>,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Leaf> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = names;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf {
            cert_pem: cert.pem(),
            key_pem: key.serialize_pem(),
        })
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Leaf {
    /// Writes `ca.pem`, `tls.crt` and `tls.key` into a directory.
    pub fn write(&self, ca_pem: &str, directory: &Path) -> Result<Files> {
        let files = Files {
            ca: directory.join("ca.pem"),
            cert: directory.join("tls.crt"),
            key: directory.join("tls.key"),
        };
        for (path, text) in [
            (&files.ca, ca_pem),
            (&files.cert, &self.cert_pem),
            (&files.key, &self.key_pem),
        ] {
            std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(files)
    }

    /// A TLS server with this certificate that offers these application protocols.
    pub fn server_config(&self, alpn: &[&str]) -> Result<Arc<ServerConfig>> {
        let chain = certificates(&self.cert_pem)?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }
}

impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaf")
            .field("cert_pem", &self.cert_pem)
            .finish_non_exhaustive()
    }
}

/// A TLS client that trusts this authority alone and offers these application protocols.
pub fn client_config(ca_pem: &str, alpn: &[&str]) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca_pem)? {
        roots.add(certificate)?;
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .context("reading certificates")
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests {
    use super::Authority;
    use crate::apiserver::ApiServer;
    use crate::client::Raw;

    #[test]
    fn writes_files_that_belong_together() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let authority = Authority::new("test")?;
        let leaf = authority.local_server()?;
        let files = leaf.write(&authority.ca_pem(), directory.path())?;
        assert_eq!(std::fs::read_to_string(files.ca)?, authority.ca_pem());
        assert_eq!(std::fs::read_to_string(files.cert)?, leaf.cert_pem);
        assert!(std::fs::read_to_string(files.key)?.contains("PRIVATE KEY"));
        assert!(!format!("{leaf:?}").contains("PRIVATE KEY"));
        Ok(())
    }

    #[tokio::test]
    async fn is_trusted_only_by_who_knows_it() -> anyhow::Result<()> {
        let api = ApiServer::start().await?;
        Raw::connect(api.addr(), api.ca_pem(), "h2").await?;
        let other = Authority::new("another")?;
        assert!(
            Raw::connect(api.addr(), &other.ca_pem(), "h2")
                .await
                .is_err()
        );
        Ok(())
    }
}
