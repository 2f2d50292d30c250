//! The revoked tokens, in memory: as the store had them a moment ago.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::sleep;

use super::TokenId;
use crate::store::{self, Store};

/// When the store can not be read, it is asked again after this.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Revocations {
    revoked: RwLock<HashSet<TokenId>>,
    changes: watch::Sender<u64>,
    /// One reader of the store at a time, else an older answer could come to replace a newer one.
    reloading: Mutex<()>,
}

impl Revocations {
    pub(super) async fn load(
        store: &Store,
        changes: watch::Sender<u64>,
    ) -> Result<Self, store::Error> {
        Ok(Self {
            revoked: RwLock::new(read(store).await?),
            changes,
            reloading: Mutex::new(()),
        })
    }

    pub(super) fn hold_any<'a>(&self, mut tokens: impl Iterator<Item = &'a TokenId>) -> bool {
        let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        !revoked.is_empty() && tokens.any(|token| revoked.contains(token))
    }

    /// Makes running requests be judged again, for a reason that is not a revocation.
    pub(super) fn announce(&self) {
        self.changes.send_modify(|generation| *generation += 1);
    }

    pub(super) async fn reload(&self, store: &Store) -> Result<(), store::Error> {
        let _alone = self.reloading.lock().await;
        let now_revoked = read(store).await?;
        let mut revoked = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
        if *revoked != now_revoked {
            *revoked = now_revoked;
            // After the set is in place: whoever is woken must see it.
            drop(revoked);
            self.changes.send_modify(|generation| *generation += 1);
        }
        Ok(())
    }
}

async fn read(store: &Store) -> Result<HashSet<TokenId>, store::Error> {
    Ok(store
        .revocations()
        .await?
        .into_iter()
        .map(|revocation| TokenId(revocation.jti))
        .collect())
}

/// Keeps `revocations` as the store has them. While it can not be read the last ones known stay in force.
pub(super) async fn follow(revocations: Arc<Revocations>, store: Store) {
    let mut changes = store.changes();
    changes.mark_changed();
    while changes.changed().await.is_ok() {
        while let Err(error) = revocations.reload(&store).await {
            tracing::error!(%error, "revocations can not be read: the last ones known stay in force");
            sleep(RETRY).await;
        }
    }
}
