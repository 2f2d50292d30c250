//! The form of a signed token, read strictly: three parts in base64url, JSON whose names are unique. No signature is
//! judged here.

mod json;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A token's parts.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
    /// What the signature is of.
    pub(super) message: &'a str,
    /// As it stands in the token, known to be base64url.
    pub(super) signature: &'a str,
}

/// Why a text is no signed token. Static, so that nothing of the token is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub(super) &'static str);

/// Reads a token in the compact form, and in no other.
pub(super) fn parse(token: &str) -> Result<Parts<'_>, Malformed> {
    let (message, signature) = token.rsplit_once('.').ok_or(NOT_THREE)?;
    let (header, claims) = message.split_once('.').ok_or(NOT_THREE)?;
    if claims.contains('.') {
        return Err(NOT_THREE);
    }
    // No padding, no other alphabet, no loose bits at the end: one token has one text.
    if URL_SAFE_NO_PAD.decode(signature).is_err() {
        return Err(Malformed("its signature is not base64url"));
    }
    Ok(Parts {
        header: object(header).ok_or(Malformed(
            "its header is not a JSON object in base64url with unique names",
        ))?,
        claims: object(claims).ok_or(Malformed(
            "its claims are not a JSON object in base64url with unique names",
        ))?,
        message,
        signature,
    })
}

/// Some of what a token claims. Unverified: good for choosing who verifies, for nothing else.
pub(super) fn claimed<T: DeserializeOwned>(token: &str) -> Option<T> {
    read(parse(token).ok()?.claims)
}

/// An object of a token as something that is known.
pub(super) fn read<T: DeserializeOwned>(object: Map<String, Value>) -> Option<T> {
    serde_json::from_value(Value::Object(object)).ok()
}

/// The issuer that a token claims.
pub(super) fn claimed_issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Peek {
        iss: String,
    }
    claimed::<Peek>(token).map(|peek| peek.iss)
}

fn object(part: &str) -> Option<Map<String, Value>> {
    match json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    }
}

const NOT_THREE: Malformed = Malformed("it has not three parts");
