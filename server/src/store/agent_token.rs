//! The token by which an agent proves which one it is: shown once, stored as a hash.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};

/// What every agent token begins with, so that people and secret scanners know one when they see it.
const PREFIX: &str = "citagent-";
/// 32 random bytes in base64.
const SECRET_LENGTH: usize = 43;

/// An agent's token. Only [`AgentToken::expose`] shows it.
#[derive(Clone)]
pub struct AgentToken(String);

/// Why a text is no agent token. Never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an agent token: it must be `{PREFIX}` and {SECRET_LENGTH} letters, digits, '-' or '_'"
)]
pub struct InvalidToken;

impl AgentToken {
    pub(super) fn generate() -> Self {
        Self(format!(
            "{PREFIX}{}",
            URL_SAFE_NO_PAD.encode(random_bytes())
        ))
    }

    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the store keeps of it. A plain hash is enough: there are 256 random bits to guess.
    pub(super) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }
}

impl FromStr for AgentToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let secret = text.strip_prefix(PREFIX).ok_or(InvalidToken)?;
        let character = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if secret.len() == SECRET_LENGTH && secret.bytes().all(character) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidToken)
        }
    }
}

impl fmt::Debug for AgentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}***")
    }
}

/// 256 bits from the system's random source.
pub(super) fn random_bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    OsRng
        .try_fill_bytes(&mut bytes)
        .expect("a system without random numbers can keep no secrets");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_tokens_parse_and_differ() {
        let (one, two) = (AgentToken::generate(), AgentToken::generate());
        assert_eq!(one.expose().len(), PREFIX.len() + SECRET_LENGTH);
        assert_eq!(
            one.expose().parse::<AgentToken>().unwrap().hash(),
            one.hash()
        );
        assert_ne!(one.hash(), two.hash());
    }

    #[test]
    fn refuses_the_rest_without_repeating_it() {
        let token = AgentToken::generate();
        let inner = token.expose().strip_prefix(PREFIX).unwrap();
        for text in [
            "",
            "citagent-",
            inner,
            "citagent-short",
            &format!("glagent-{inner}"),
            &format!("{}=", token.expose()),
            &format!("citagent-{}é", &inner[2..]),
        ] {
            let error = text.parse::<AgentToken>().unwrap_err().to_string();
            assert!(!error.contains(&inner[2..]), "{error}");
        }
    }

    #[test]
    fn debug_is_masked() {
        assert_eq!(format!("{:?}", AgentToken::generate()), "citagent-***");
    }
}
