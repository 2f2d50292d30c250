//! How a job token stands with GitLab, for all requests with it: what runs is judged by GitLab's latest word.

use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use ci_tunnel::config::value::Secret;

use super::answer::Job;
use crate::access::Granted;
use crate::authn::{Authenticated, Error, TokenId};
use crate::identity::JobIdentity;

/// A token that GitLab has called good.
#[derive(Debug)]
pub(in crate::authn) struct Standing {
    pub(super) id: TokenId,
    /// For asking again, and for KUBECONFIGs.
    pub(in crate::authn) token: Secret,
    pub(super) job: Arc<Job>,
    identity: Arc<JobIdentity>,
    word: RwLock<Word>,
    /// What the running requests share; gone when none runs.
    holder: Mutex<Weak<Authenticated>>,
}

/// GitLab's latest.
#[derive(Debug)]
struct Word {
    at: Instant,
    granted: Arc<Granted>,
    /// Why the token is good no more.
    end: Option<Error>,
}

impl Standing {
    pub(super) fn new(
        id: TokenId,
        token: Secret,
        job: Arc<Job>,
        identity: Arc<JobIdentity>,
        granted: Arc<Granted>,
    ) -> Self {
        let word = Word {
            at: Instant::now(),
            granted,
            end: None,
        };
        Self {
            id,
            token,
            job,
            identity,
            word: RwLock::new(word),
            holder: Mutex::default(),
        }
    }

    /// Whether the token is good, as far as GitLab has told.
    pub(in crate::authn) fn check(&self) -> Result<(), Error> {
        self.word().end.clone().map_or(Ok(()), Err)
    }

    /// What GitLab lets the job use.
    pub(in crate::authn) fn granted(&self) -> Arc<Granted> {
        Arc::clone(&self.word().granted)
    }

    /// Whether GitLab called the token good less than `age` ago.
    pub(super) fn is_younger(&self, age: Duration) -> bool {
        let word = self.word();
        word.end.is_none() && word.at.elapsed() < age
    }

    /// Whether GitLab says the same of the job as before.
    pub(super) fn is(&self, identity: &JobIdentity) -> bool {
        *self.identity == *identity
    }

    /// GitLab called the token good again. Whether it lets the job use something else now.
    pub(super) fn renew(&self, granted: Arc<Granted>) -> bool {
        let mut word = self.word.write().unwrap_or_else(PoisonError::into_inner);
        word.at = Instant::now();
        let changed = word.granted != granted;
        word.granted = granted;
        changed
    }

    pub(super) fn end(&self, why: Error) {
        let mut word = self.word.write().unwrap_or_else(PoisonError::into_inner);
        word.end.get_or_insert(why);
    }

    /// What the running requests share, made when there is none.
    pub(super) fn holder(
        &self,
        make: impl FnOnce(Arc<JobIdentity>) -> Arc<Authenticated>,
    ) -> Arc<Authenticated> {
        let mut holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        holder.upgrade().unwrap_or_else(|| {
            let made = make(Arc::clone(&self.identity));
            *holder = Arc::downgrade(&made);
            made
        })
    }

    fn word(&self) -> std::sync::RwLockReadGuard<'_, Word> {
        self.word.read().unwrap_or_else(PoisonError::into_inner)
    }
}
