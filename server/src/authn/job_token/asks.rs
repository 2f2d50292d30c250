//! How many asks GitLab gets: at a time, and a second for tokens that nobody has vouched for.
//!
//! Tokens known to be good have places of their own, so that garbage cannot keep running jobs from being renewed.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::gitlab::Failure;

#[derive(Debug)]
pub(super) struct Asks {
    rate: DefaultDirectRateLimiter,
    known: Semaphore,
    unknown: Semaphore,
    /// Since when nothing is heard.
    unreachable: Mutex<Option<Instant>>,
}

/// Asks at a time for tokens known to be good, and as many for others.
const CONCURRENT: usize = 16;
/// How long one waits for a place.
const PATIENCE: Duration = Duration::from_secs(5);
/// After an ask that nobody answered the next one is not made at once.
const PAUSE: Duration = Duration::from_secs(1);

impl Asks {
    pub(super) fn new(a_second: NonZeroU32) -> Self {
        let burst = a_second.saturating_mul(NonZeroU32::MIN.saturating_add(1));
        Self {
            rate: RateLimiter::direct(Quota::per_second(a_second).allow_burst(burst)),
            known: Semaphore::new(CONCURRENT),
            unknown: Semaphore::new(CONCURRENT),
            unreachable: Mutex::default(),
        }
    }

    /// A place for one ask. `known`: about a token that was good before.
    pub(super) async fn begin(&self, known: bool) -> Result<SemaphorePermit<'_>, &'static str> {
        let paused = self
            .unreachable()
            .is_some_and(|since| since.elapsed() < PAUSE);
        if paused {
            return Err("it did not answer a moment ago");
        }
        if !known && self.rate.check().is_err() {
            return Err("too many unknown job tokens come at once");
        }
        let places = if known { &self.known } else { &self.unknown };
        match timeout(PATIENCE, places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err("too many job tokens wait for its answer"),
        }
    }

    pub(super) fn heard<T>(&self, outcome: &Result<T, Failure>) {
        let unreachable = matches!(outcome, Err(Failure::Unreachable(_)));
        *self.unreachable() = unreachable.then(Instant::now);
    }

    fn unreachable(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.unreachable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
