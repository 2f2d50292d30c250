//! An issuer's keys as it publishes them: those are kept that can verify what the provider's tokens are signed with.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Config;
use crate::authn::TokenId;

/// The keys that can be used. At least one.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<Key>,
}

/// A public key.
pub(super) struct Key {
    pub(super) kid: Option<String>,
    pub(super) id: KeyId,
    shape: Shape,
    /// The only algorithm it is for, where the issuer says so.
    algorithm: Option<Algorithm>,
    decoding: DecodingKey,
}

/// A key itself, whatever its name: the hash of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyId([u8; 32]);

/// The document at `jwks_uri`.
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    keys: Vec<serde_json::Value>,
}

/// Why a document holds no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("it holds {0} keys, more than {MAX_KEYS}")]
    TooMany(usize),
    #[error(
        "none of its {0} keys is public, for signatures, and for one of the provider's oidc.algorithms"
    )]
    Unusable(usize),
}

/// Why no key is to be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoKey {
    /// The token names none, and there are several.
    NotNamed,
    /// There is no such key, or it is for another algorithm.
    NotThere,
}

const MAX_KEYS: usize = 100;
/// RSA, in bytes of the modulus.
const RSA: std::ops::RangeInclusive<usize> = 256..=1024;

impl KeySet {
    pub(super) fn read(document: &Document, config: &Config) -> Result<Self, Error> {
        let count = document.keys.len();
        if count > MAX_KEYS {
            return Err(Error::TooMany(count));
        }
        let usable = |key: &serde_json::Value| Key::read(Jwk::deserialize(key).ok()?, config);
        let keys: Vec<_> = document.keys.iter().filter_map(usable).collect();
        if keys.is_empty() {
            return Err(Error::Unusable(count));
        }
        Ok(Self { keys })
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    pub(super) fn holds(&self, id: KeyId) -> bool {
        self.iter().any(|key| key.id == id)
    }

    pub(super) fn names(&self, kid: &str) -> bool {
        self.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// The keys that a token may be signed with that names `kid`. More than one only where the issuer gave two the same
    /// name.
    pub(super) fn candidates(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Vec<&Key>, NoKey> {
        let fit = |key: &&Key| key.fits(algorithm);
        let found: Vec<_> = match kid {
            Some(kid) => {
                let named = |key: &&Key| key.kid.as_deref() == Some(kid);
                self.iter().filter(named).filter(fit).collect()
            }
            None if self.keys.len() > 1 => return Err(NoKey::NotNamed),
            None => self.iter().filter(fit).collect(),
        };
        if found.is_empty() {
            return Err(NoKey::NotThere);
        }
        Ok(found)
    }
}

impl Key {
    fn read(jwk: Jwk, config: &Config) -> Option<Self> {
        let (shape, decoding, bytes) = jwk.material()?;
        if !jwk.is_for_signatures() {
            return None;
        }
        let algorithm = match jwk.alg.as_deref() {
            None => None,
            Some(name) => Some(name.parse::<Algorithm>().ok()?),
        };
        let key = Self {
            id: KeyId(Sha256::digest(&bytes).into()),
            kid: jwk.kid,
            shape,
            algorithm,
            decoding,
        };
        let usable = config
            .algorithms
            .iter()
            .any(|allowed| key.fits(allowed.jws()));
        usable.then_some(key)
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.shape.fits(algorithm) && self.algorithm.is_none_or(|only| only == algorithm)
    }

    /// Whether `signature`, in base64url, is this key's of `message`.
    pub(super) fn verifies(&self, message: &str, signature: &str, algorithm: Algorithm) -> bool {
        self.fits(algorithm)
            && crypto::verify(signature, message.as_bytes(), &self.decoding, algorithm)
                .unwrap_or(false)
    }
}

/// What a key can be, and so what it can sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Ed25519,
    P256,
    P384,
    Rsa,
}

impl Shape {
    fn fits(self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::ES256 => self == Self::P256,
            Algorithm::ES384 => self == Self::P384,
            Algorithm::EdDSA => self == Self::Ed25519,
            Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512
            | Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512 => self == Self::Rsa,
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => false,
        }
    }
}

/// A JSON Web Key, as far as it counts.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// The private part: an issuer that publishes it has lost the key.
    d: Option<String>,
}

impl Jwk {
    fn is_for_signatures(&self) -> bool {
        let verifies = |operations: &Vec<String>| operations.iter().any(|name| name == "verify");
        self.d.is_none()
            && self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(verifies)
    }

    /// The key, and the bytes that are it alone.
    fn material(&self) -> Option<(Shape, DecodingKey, Vec<u8>)> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (number(self.n.as_deref())?, number(self.e.as_deref())?);
                let key = DecodingKey::from_rsa_raw_components(&n, &e);
                let sound = RSA.contains(&n.len()) && (1..=8).contains(&e.len());
                sound.then(|| (Shape::Rsa, key, [b"RSA".as_slice(), &n, b"/", &e].concat()))
            }
            ("EC", Some("P-256")) => self.point(Shape::P256, 32),
            ("EC", Some("P-384")) => self.point(Shape::P384, 48),
            ("OKP", Some("Ed25519")) => {
                let x = decode(self.x.as_deref()?).filter(|x| x.len() == 32)?;
                let key = DecodingKey::from_ed_der(&x);
                Some((Shape::Ed25519, key, [b"Ed25519".as_slice(), &x].concat()))
            }
            // A shared secret (`oct`) among them: whoever published it, published it.
            _ => None,
        }
    }

    fn point(&self, shape: Shape, size: usize) -> Option<(Shape, DecodingKey, Vec<u8>)> {
        let coordinate = |text: Option<&str>| decode(text?).filter(|bytes| bytes.len() == size);
        let (x, y) = (
            coordinate(self.x.as_deref())?,
            coordinate(self.y.as_deref())?,
        );
        let point = [&[4], x.as_slice(), &y].concat();
        let key = DecodingKey::from_ec_der(&point);
        Some((shape, key, [b"EC".as_slice(), &point].concat()))
    }
}

/// A number in base64url, without zeros before it.
fn number(text: Option<&str>) -> Option<Vec<u8>> {
    let bytes = decode(text?)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    Some(bytes[zeros..].to_vec())
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

impl KeyId {
    /// By what all tokens that the key signed can be revoked at once, with the credentials got with them.
    pub(super) fn token(self) -> TokenId {
        TokenId(self.to_string())
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("key:")?;
        self.0[..16]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
