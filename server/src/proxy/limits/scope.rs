//! One scope of limits (jobs, projects or agents): what each of its keys has running, begins and carries.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::bucket::Bucket;
use super::config::Limit;
use super::{Bound, Kind, Over};
use crate::metrics::{LimitLabels, Metrics};

/// Keys are hashes under a key of this process alone: short whatever a credential says, and nobody can choose two that
/// meet.
pub(super) type Key = u64;

pub(super) struct Scope {
    kind: Kind,
    hasher: RandomState,
    settings: RwLock<Arc<Settings>>,
    keys: Mutex<HashMap<Key, Entry>>,
    metrics: Metrics,
}

/// What holds now; replaced whole when the file was read again.
struct Settings {
    limit: Limit,
    rate: Option<DefaultKeyedRateLimiter<Key>>,
}

#[derive(Debug, Default)]
struct Entry {
    running: u32,
    bucket: Option<Arc<Bucket>>,
}

/// The place of one running request, free again when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    scope: Arc<Scope>,
    key: Key,
    pub(super) bucket: Option<Arc<Bucket>>,
}

/// When a place is free again nobody knows. Clients ask again after at least and at most so many seconds, at random, so that
/// those that were refused together do not come back together; kubectl does so ten times.
const CONCURRENCY_RETRY: std::ops::RangeInclusive<u64> = 1..=5;
/// So many times a second's requests may come at once.
const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);
/// Room for so many keys is kept.
const KEPT: usize = 1024;

impl Scope {
    pub(super) fn new(kind: Kind, limit: Limit, metrics: Metrics) -> Self {
        Self {
            kind,
            hasher: RandomState::new(),
            settings: RwLock::new(Arc::new(Settings::new(limit))),
            keys: Mutex::default(),
            metrics,
        }
    }

    pub(super) fn key(&self, what: impl Hash) -> Key {
        self.hasher.hash_one(what)
    }

    /// One more request begins.
    pub(super) fn check_rate(&self, key: Key) -> Result<(), Over> {
        let settings = self.settings();
        let Some(rate) = &settings.rate else {
            return Ok(());
        };
        rate.check_key(&key).map_err(|early| {
            let retry_after = early.wait_time_from(DefaultClock::default().now());
            let value = settings.limit.requests_per_second;
            self.over(Bound::Rate, value, retry_after)
        })
    }

    /// A place for one more request; none where nothing is counted.
    pub(super) fn take(scope: &Arc<Self>, key: Key) -> Result<Option<Slot>, Over> {
        let limit = scope.settings().limit;
        let rate = limit.bytes_per_second.as_u64();
        if limit.concurrent == 0 && rate == 0 {
            return Ok(None);
        }
        let mut keys = scope.keys();
        let entry = keys.entry(key).or_default();
        if limit.concurrent > 0 && entry.running >= limit.concurrent {
            drop(keys);
            let retry_after = Duration::from_secs(rand::random_range(CONCURRENCY_RETRY));
            return Err(scope.over(Bound::Concurrent, limit.concurrent, retry_after));
        }
        entry.running += 1;
        if rate > 0 && entry.bucket.is_none() {
            let waits = scope.limited(Bound::Bytes);
            entry.bucket = Some(Arc::new(Bucket::new(rate, waits)));
        }
        let bucket = entry.bucket.clone();
        drop(keys);
        Ok(Some(Slot {
            scope: Arc::clone(scope),
            key,
            bucket,
        }))
    }

    /// Other limits from now on. What runs goes on; what it carries is slowed or freed, if its bytes were counted.
    pub(super) fn change(&self, limit: Limit) {
        if self.settings().limit == limit {
            return;
        }
        let settings = Arc::new(Settings::new(limit));
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = settings;
        let rate = limit.bytes_per_second.as_u64();
        for entry in self.keys().values_mut() {
            if let Some(bucket) = &entry.bucket {
                bucket.set_rate(rate);
            }
            if rate == 0 {
                entry.bucket = None;
            }
        }
    }

    /// Forgets keys that have not been seen lately.
    pub(super) fn sweep(&self) {
        if let Some(rate) = &self.settings().rate {
            rate.retain_recent();
            if rate.len() < KEPT {
                rate.shrink_to_fit();
            }
        }
        let mut keys = self.keys();
        keys.retain(|_, entry| !entry.is_idle());
        if keys.len() < KEPT {
            keys.shrink_to(KEPT);
        }
    }

    /// Keys that are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        let rates = self.settings().rate.as_ref().map_or(0, RateLimiter::len);
        self.keys().len() + rates
    }

    fn over(&self, bound: Bound, value: u32, retry_after: Duration) -> Over {
        self.limited(bound).inc();
        Over {
            kind: self.kind,
            bound,
            value,
            retry_after,
        }
    }

    fn limited(&self, bound: Bound) -> prometheus_client::metrics::counter::Counter {
        let labels = LimitLabels {
            scope: self.kind.name(),
            limit: bound.name(),
        };
        self.metrics.limited.get_or_create_owned(&labels)
    }

    fn settings(&self) -> Arc<Settings> {
        let settings = self.settings.read();
        Arc::clone(&settings.unwrap_or_else(PoisonError::into_inner))
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("kind", &self.kind)
            .field("limit", &self.settings().limit)
            .finish_non_exhaustive()
    }
}

impl Settings {
    fn new(limit: Limit) -> Self {
        let rate = NonZeroU32::new(limit.requests_per_second).map(|rate| {
            let quota = Quota::per_second(rate).allow_burst(rate.saturating_mul(BURST));
            RateLimiter::keyed(quota)
        });
        Self { limit, rate }
    }
}

impl Entry {
    fn is_idle(&self) -> bool {
        self.running == 0 && self.bucket.as_ref().is_none_or(|bucket| bucket.is_full())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut keys = self.scope.keys();
        if let Some(entry) = keys.get_mut(&self.key) {
            entry.running -= 1;
            // A bucket that is not full stays, until a sweep: else each request would begin with a full one.
            if entry.is_idle() {
                keys.remove(&self.key);
            }
        }
    }
}
