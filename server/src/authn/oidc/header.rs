//! A token's header, of which nothing is believed: it names an algorithm and a key among those that are allowed anyway.

use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::Error;

/// What a header says that counts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// `None`: none that any provider may have.
    pub(super) algorithm: Option<Algorithm>,
    pub(super) kid: Option<String>,
}

/// A key's name is longer nowhere.
const LONGEST_KID: usize = 256;

impl Header {
    pub(super) fn read(header: &Map<String, Value>) -> Result<Self, Error> {
        if let Some((_, why)) = REFUSED.iter().find(|(name, _)| header.contains_key(*name)) {
            return Err(Error::Header(why));
        }
        match header.get("typ") {
            None => {}
            // Else a token for another purpose, as an access token (`at+jwt`), could pass for an ID token.
            Some(Value::String(typ)) if typ.eq_ignore_ascii_case("JWT") => {}
            Some(_) => return Err(Error::Header("is of another type than JWT")),
        }
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) if (1..=LONGEST_KID).contains(&kid.len()) => Some(kid.clone()),
            Some(_) => return Err(Error::Header("has a `kid` that is no name of a key")),
        };
        let Some(Value::String(algorithm)) = header.get("alg") else {
            return Err(Error::Header("names no algorithm"));
        };
        Ok(Self {
            algorithm: known(algorithm),
            kid,
        })
    }
}

/// By private keys. `none` and `HS256` are not among them, in no spelling.
fn known(name: &str) -> Option<Algorithm> {
    Some(match name {
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        _ => return None,
    })
}

/// Members that would have us take a key from the token, or read the token in another way.
const REFUSED: [(&str, &str); 9] = [
    ("jwk", "brings its own key (`jwk`)"),
    ("jku", "names an address of keys (`jku`)"),
    ("x5c", "brings its own certificate (`x5c`)"),
    ("x5u", "names an address of certificates (`x5u`)"),
    ("crit", "has extensions (`crit`)"),
    ("b64", "has extensions (`b64`)"),
    ("cty", "says that a token is within the token (`cty`)"),
    ("enc", "says that it is encrypted (`enc`)"),
    ("zip", "says that it is compressed (`zip`)"),
];
