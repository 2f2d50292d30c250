//! An identity as the headers that make an API server impersonate it.

use http::{HeaderName, HeaderValue};

use super::Impersonation;

const USER: HeaderName = HeaderName::from_static("impersonate-user");
const UID: HeaderName = HeaderName::from_static("impersonate-uid");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const EXTRA_PREFIX: &str = "impersonate-extra-";

/// A part of an identity that HTTP can not carry as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {what} of its identity can not be sent as a header")]
pub struct NotAHeader {
    /// Which part: `username`, `uid`, `group`, `extra key` or `extra value`.
    pub what: &'static str,
}

impl Impersonation {
    /// The headers, in the order in which they are sent. The agent alone makes them for an API server; who explains a
    /// decision shows the same ones.
    ///
    /// # Errors
    /// A value is empty, has spaces at its ends, which HTTP would drop, or bytes that no header may have.
    pub fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, NotAHeader> {
        let mut headers = vec![(USER, value("username", &self.username)?)];
        if let Some(uid) = &self.uid {
            headers.push((UID, value("uid", uid)?));
        }
        for group in &self.groups {
            headers.push((GROUP, value("group", group)?));
        }
        for (key, text) in &self.extra {
            headers.push((extra(key)?, value("extra value", text)?));
        }
        Ok(headers)
    }
}

fn extra(key: &str) -> Result<HeaderName, NotAHeader> {
    let what = "extra key";
    if key.is_empty() {
        return Err(NotAHeader { what });
    }
    let name = format!("{EXTRA_PREFIX}{}", escape_key(key));
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| NotAHeader { what })
}

/// HTTP drops white space around a value, which would make it another identity than the one decided on.
fn value(what: &'static str, text: &str) -> Result<HeaderValue, NotAHeader> {
    if text.is_empty() || text.trim() != text {
        return Err(NotAHeader { what });
    }
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| NotAHeader { what })
}

/// As client-go's `headerKeyEscape`: bytes that can not stand in a header's name, and `%`, percent-encoded.
fn escape_key(key: &str) -> String {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
    key.bytes()
        .fold(String::with_capacity(key.len()), |mut escaped, byte| {
            if legal(byte) {
                escaped.push(char::from(byte));
            } else {
                escaped.push_str(&format!("%{byte:02X}"));
            }
            escaped
        })
}
