//! The cluster's certificates and the kubeconfigs made of them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::folder::Folder;

/// The one authority of the cluster: it signs for servers and for users alike.
#[derive(Debug)]
pub(super) struct Authority {
    pub(super) pem: String,
    pub(super) file: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as files.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

impl Authority {
    pub(super) fn new(folder: &Folder) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "test-cluster-ca");
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self {
            file: folder.write("ca.pem", &pem)?,
            pem,
            issuer: Issuer::new(params, key),
        })
    }

    /// What a server shows that is reached under `names`.
    pub(super) fn server(&self, folder: &Folder, file: &str, names: &[&str]) -> Result<Pair> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, file);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(folder, file, params)
    }

    /// What makes its holder `user`, member of `group`, for the API server.
    pub(super) fn client(&self, folder: &Folder, user: &str, group: &str) -> Result<Pair> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(folder, &user.replace(':', "-"), params)
    }

    fn sign(&self, folder: &Folder, file: &str, mut params: CertificateParams) -> Result<Pair> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Newer OpenSSL, and so Python, refuses a certificate that does not name its issuer's key.
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer).context("signing")?;
        Ok(Pair {
            cert: folder.write(&format!("{file}.pem"), &cert.pem())?,
            key: folder.write(&format!("{file}.key"), &key.serialize_pem())?,
        })
    }
}

/// The pair of keys that signs and checks service account tokens.
pub(super) fn token_keys(folder: &Folder) -> Result<Pair> {
    let key = KeyPair::generate()?;
    Ok(Pair {
        cert: folder.write("service-accounts.pub", &key.public_key_pem())?,
        key: folder.write("service-accounts.key", &key.serialize_pem())?,
    })
}

/// Writes a kubeconfig for the holder of `user`.
pub(super) fn kubeconfig(
    folder: &Folder,
    name: &str,
    (url, ca): (&str, &Path),
    user: &Pair,
) -> Result<PathBuf> {
    let text = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {
            "server": url,
            "certificate-authority": ca,
        }}],
        "users": [{"name": name, "user": {
            "client-certificate": user.cert,
            "client-key": user.key,
        }}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
    });
    folder.write(&format!("{name}.kubeconfig"), &text.to_string())
}
