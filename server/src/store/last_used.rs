//! When agent tokens were last used: gathered in memory and written in batches, so that no session waits for it and
//! none fails by it.

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::AgentTokenId;
use super::backend::Backend;

/// Beyond so many tokens between two writes further ones are not noted.
const MAX_NOTED: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct LastUsed {
    noted: Mutex<HashMap<AgentTokenId, SystemTime>>,
}

impl LastUsed {
    pub(super) fn note(&self, token: AgentTokenId, now: SystemTime) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.len() < MAX_NOTED || noted.contains_key(&token) {
            noted.insert(token, now);
        }
    }

    /// Writes what was noted. What can not be written is lost, and said so: it is worth no retry.
    pub(super) async fn flush(&self, backend: &dyn Backend) {
        let noted = mem::take(&mut *self.noted.lock().unwrap_or_else(PoisonError::into_inner));
        if noted.is_empty() {
            return;
        }
        let used: Vec<_> = noted.into_iter().collect();
        if let Err(error) = backend.used_agent_tokens(&used).await {
            tracing::warn!(%error, tokens = used.len(), "when agent tokens were last used could not be noted");
        }
    }
}
