//! Keys that the server makes for itself, once, and keeps: signing keys, the stateless-reset key.

use std::fmt;
use std::time::SystemTime;

use super::agent_token::random_bytes;
use super::{Error, Store};

/// 256 secret bits. Only [`SecretKey::expose`] shows them.
#[derive(Clone)]
pub struct SecretKey([u8; 32]);

impl SecretKey {
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(***)")
    }
}

impl Store {
    /// The key called `name`, made at the first request for it. Whoever asks first, all processes get the same one.
    ///
    /// # Errors
    /// The store fails, or the key is new and can not be written.
    pub async fn secret(&self, name: &str) -> Result<SecretKey, Error> {
        if let Some(key) = self.backend.secret(name).await? {
            return Ok(SecretKey(key));
        }
        let candidate = random_bytes();
        self.backend
            .insert_secret(name, candidate, SystemTime::now())
            .await?;
        // Not the candidate: another process may have been faster.
        let kept = self.backend.secret(name).await?;
        Ok(SecretKey(kept.unwrap_or(candidate)))
    }
}
