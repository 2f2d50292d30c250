//! A certificate authority and the server's certificate, made in a state directory when none is given.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{GeneralName, X509Certificate};

use super::pem::{self, Pair, Readers};
use super::pin::parse;
use super::{Error, Pin};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the authority's certificate is valid.
const CA_LIFE: Duration = Duration::from_secs(10 * 365 * DAY.as_secs());
/// How long the server's certificate is valid. It is renewed after two thirds of that.
const LEAF_LIFE: Duration = Duration::from_secs(90 * DAY.as_secs());
/// Certificates are valid from a little before they are made: clocks differ.
const CLOCK_SKEW: Duration = Duration::from_secs(60 * 60);
/// Names that every server has for clients on its own host.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The authority in a state directory.
pub(super) struct Authority {
    dir: PathBuf,
    names: BTreeSet<String>,
    certificate: CertificateDer<'static>,
    pem: String,
    pin: Pin,
}

impl Authority {
    /// Opens the authority in `dir`, or makes one.
    pub(super) fn open(dir: &Path, names: &[String], now: SystemTime) -> Result<Self, Error> {
        std::fs::create_dir_all(dir).map_err(|source| Error::Io {
            file: dir.to_owned(),
            source,
        })?;
        let names = names
            .iter()
            .map(|name| checked(name))
            .chain(OWN_NAMES.map(checked))
            .collect::<Result<_, _>>()?;
        let key = key_in(dir)?;
        let (certificate, pem) = certificate_in(dir, &key, now)?;
        let pin = Pin::of(&certificate)?;
        Ok(Self {
            dir: dir.to_owned(),
            names,
            certificate,
            pem,
            pin,
        })
    }

    /// The authority's certificate.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    pub(super) fn pin(&self) -> Pin {
        self.pin
    }

    /// The server's certificate and key; made anew if there is none, if it is old, or if it is for other names.
    pub(super) fn server(&self, now: SystemTime) -> Result<Pair, Error> {
        let file = self.dir.join("server.pem");
        let serves = |pem: &Vec<u8>| self.serves(pem, now).unwrap_or(false);
        if pem::read_if_there(&file)?.filter(serves).is_none() {
            let pem = self.issue(now)?;
            // Certificate and key in one file, so that they are replaced together.
            pem::replace(&file, &pem, Readers::Owner)?;
            tracing::info!(file = %file.display(), names = ?self.names, "made a server certificate");
        }
        Pair::read(&file, &file)
    }

    fn serves(&self, pem: &[u8], now: SystemTime) -> Result<bool, Error> {
        let chain = pem::certificates(Path::new("server.pem"), pem)?;
        let leaf = parse(&chain[0])?;
        let has_key = rustls::pki_types::PrivateKeyDer::from_pem_slice(pem).is_ok();
        Ok(is_fresh(&leaf, now)
            && has_key
            && chain.get(1) == Some(&self.certificate)
            && names_of(&leaf) == self.names)
    }

    fn issue(&self, now: SystemTime) -> Result<String, Error> {
        let ca_key = key_in(&self.dir)?;
        let make = || {
            let mut params =
                CertificateParams::new(self.names.iter().cloned().collect::<Vec<_>>())?;
            params.distinguished_name = rcgen::DistinguishedName::new();
            params
                .distinguished_name
                .push(DnType::CommonName, "ci-tunnel server");
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.use_authority_key_identifier_extension = true;
            set_validity(&mut params, now, LEAF_LIFE);
            let issuer = Issuer::from_ca_cert_der(&self.certificate, ca_key)?;
            let key = KeyPair::generate()?;
            let leaf = params.signed_by(&key, &issuer)?;
            Ok(format!("{}{}{}", leaf.pem(), self.pem, key.serialize_pem()))
        };
        make().map_err(generate(&self.dir))
    }
}

/// The authority's key. A certificate that was lost is issued again for the same key, so that pins stay good.
fn key_in(dir: &Path) -> Result<KeyPair, Error> {
    let file = dir.join("ca-key.pem");
    match pem::read_if_there(&file)? {
        Some(text) => {
            KeyPair::from_pem(&String::from_utf8_lossy(&text)).map_err(|error| Error::Pem {
                file,
                message: error.to_string(),
            })
        }
        None if dir.join("ca.pem").exists() => Err(Error::Nothing {
            file,
            what: "key of the authority in ca.pem",
        }),
        None => {
            let key = KeyPair::generate().map_err(generate(dir))?;
            pem::replace(&file, &key.serialize_pem(), Readers::Owner)?;
            Ok(key)
        }
    }
}

/// The authority's certificate, issued for its key if there is none, and again when two thirds of its life are over.
fn certificate_in(
    dir: &Path,
    key: &KeyPair,
    now: SystemTime,
) -> Result<(CertificateDer<'static>, String), Error> {
    let file = dir.join("ca.pem");
    if let Some(pem) = pem::read_if_there(&file)? {
        let certificate = pem::certificates(&file, &pem)?.remove(0);
        let parsed = parse(&certificate)?;
        if parsed.public_key().subject_public_key.data != key.public_key_raw() {
            return Err(Error::KeyPair {
                certificate: file,
                key: dir.join("ca-key.pem"),
                source: rustls::InconsistentKeys::KeyMismatch.into(),
            });
        }
        if is_fresh(&parsed, now) {
            return Ok((certificate, String::from_utf8_lossy(&pem).into_owned()));
        }
    }
    let pem = issue_ca(key, now).map_err(generate(dir))?;
    pem::replace(&file, &pem, Readers::Everyone)?;
    tracing::info!(file = %file.display(), "made a certificate of the authority");
    Ok((pem::certificates(&file, pem.as_bytes())?.remove(0), pem))
}

/// Whether a certificate is valid and in the first two thirds of its life.
fn is_fresh(certificate: &X509Certificate<'_>, now: SystemTime) -> bool {
    let validity = certificate.validity();
    let (from, until) = (
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    );
    let now = i64::try_from(unix(now).as_secs()).unwrap_or(i64::MAX);
    (from..from + (until - from) / 3 * 2).contains(&now)
}

fn issue_ca(key: &KeyPair, now: SystemTime) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    // Named after its key: two authorities never have the same name, and one has the same name for ever.
    let id: String = params
        .key_identifier(key)
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("ci-tunnel CA {id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, now, CA_LIFE);
    Ok(params.self_signed(key)?.pem())
}

fn set_validity(params: &mut CertificateParams, now: SystemTime, life: Duration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + unix(now).saturating_sub(CLOCK_SKEW);
    params.not_after = epoch + unix(now) + life;
}

fn unix(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// A name as it stands in the certificate.
fn checked(name: &str) -> Result<String, Error> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    let host = name.strip_prefix("*.").unwrap_or(name);
    match rustls::pki_types::DnsName::try_from(host) {
        Ok(_) => Ok(name.to_ascii_lowercase()),
        Err(_) => Err(Error::Name(name.to_owned())),
    }
}

fn names_of(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return BTreeSet::new();
    };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from))
                .ok()
                .map(|address| address.to_string())
        }
        _ => None,
    };
    names.value.general_names.iter().filter_map(text).collect()
}

fn generate(dir: &Path) -> impl Fn(rcgen::Error) -> Error {
    let dir = dir.to_owned();
    move |source| Error::Generate {
        dir: dir.clone(),
        source,
    }
}
