//! A token that is good but for what a test changes.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::Key;

/// A token before it is signed.
#[derive(Debug, Clone)]
pub struct Token {
    header: Value,
    claims: Value,
    key: Arc<Key>,
}

impl Token {
    pub(super) fn new(claims: Value, key: Arc<Key>) -> Self {
        Self {
            header: json!({"typ": "JWT", "alg": key.algorithm(), "kid": key.kid()}),
            claims,
            key,
        }
    }

    #[must_use]
    pub fn with(mut self, claim: &str, value: impl Into<Value>) -> Self {
        self.claims[claim] = value.into();
        self
    }

    #[must_use]
    pub fn without(mut self, claim: &str) -> Self {
        self.claims.as_object_mut().unwrap().remove(claim);
        self
    }

    /// With a member of the header; `null` takes it away.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        let header = self.header.as_object_mut().unwrap();
        match value.into() {
            Value::Null => drop(header.remove(name)),
            value => drop(header.insert(name.to_owned(), value)),
        }
        self
    }

    /// Signed by another key, under the name that stands in the header.
    #[must_use]
    pub fn forged_by(mut self, key: &Arc<Key>) -> Self {
        self.key = Arc::clone(key);
        self
    }

    /// Valid for this long from now, in seconds; less than 0 has ended.
    #[must_use]
    pub fn ends_in(self, seconds: i64) -> Self {
        let end = jiff::Timestamp::now().as_second() + seconds;
        self.with("exp", end)
    }

    pub fn claim(&self, name: &str) -> &Value {
        &self.claims[name]
    }

    pub fn claims(&self) -> &Value {
        &self.claims
    }

    pub fn sign(&self) -> String {
        self.sign_text(&self.header.to_string(), &self.claims.to_string())
    }

    /// Of exactly these texts, which need not be JSON.
    pub fn sign_text(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}
