//! How much one job and one project may ask at a time and in a second. What already runs is never dropped.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use serde::{Deserialize, Serialize};

use super::reject::Reject;
use crate::authn::Authenticated;

/// `limits` in the server's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// For each job. Default: 1000 requests a second, 500 at a time.
    pub job: Limit,
    /// For each project, over all its jobs. Default: 5000 requests a second, 2000 at a time.
    pub project: Limit,
}

/// A limit of zero is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Requests that begin in a second; twice as many may come at once.
    pub requests_per_second: u32,
    /// Requests that run at a time, watches and upgrades included.
    pub concurrent: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            job: Limit {
                requests_per_second: 1000,
                concurrent: 500,
            },
            project: Limit {
                requests_per_second: 5000,
                concurrent: 2000,
            },
        }
    }
}

/// Counts what runs. Clones share the counts.
#[derive(Debug, Clone)]
pub struct Limits {
    job: Arc<Scope>,
    project: Arc<Scope>,
}

/// The places that a running request takes, free again when dropped.
#[derive(Debug, Default)]
pub struct Slots {
    _job: Option<Slot>,
    _project: Option<Slot>,
}

#[derive(Debug)]
struct Scope {
    what: &'static str,
    concurrent: u32,
    rate: Option<DefaultKeyedRateLimiter<String>>,
    running: Mutex<HashMap<String, u32>>,
}

#[derive(Debug)]
struct Slot {
    scope: Arc<Scope>,
    key: String,
}

/// When a place is free again nobody knows; clients ask again after this.
const CONCURRENCY_RETRY: Duration = Duration::from_secs(1);

impl Limits {
    pub fn new(config: &Config) -> Self {
        Self {
            job: Arc::new(Scope::new("this job", config.job)),
            project: Arc::new(Scope::new("this job's project", config.project)),
        }
    }

    /// Takes a place for one more request.
    ///
    /// # Errors
    /// The job or its project is over its rate, or has as many requests running as it may.
    pub fn admit(&self, who: &Authenticated) -> Result<Slots, Reject> {
        let job = who.identity.job_id.as_deref().unwrap_or(who.token.as_str());
        let job = format!(
            "{}/{}/{job}",
            who.identity.provider,
            who.identity.project.path.key()
        );
        let project = format!(
            "{}/{}",
            who.identity.provider,
            who.identity.project.path.key()
        );
        self.job.check_rate(&job)?;
        self.project.check_rate(&project)?;
        Ok(Slots {
            _job: Scope::take(&self.job, job)?,
            _project: Scope::take(&self.project, project)?,
        })
    }

    /// Forgets keys that have not been seen lately.
    pub fn sweep(&self) {
        for scope in [&self.job, &self.project] {
            if let Some(rate) = &scope.rate {
                rate.retain_recent();
            }
        }
    }
}

impl Scope {
    fn new(what: &'static str, limit: Limit) -> Self {
        let rate = NonZeroU32::new(limit.requests_per_second).map(|rate| {
            let quota = Quota::per_second(rate)
                .allow_burst(rate.saturating_mul(NonZeroU32::MIN.saturating_add(1)));
            RateLimiter::keyed(quota)
        });
        Self {
            what,
            concurrent: limit.concurrent,
            rate,
            running: Mutex::default(),
        }
    }

    fn check_rate(&self, key: &String) -> Result<(), Reject> {
        let Some(rate) = &self.rate else {
            return Ok(());
        };
        rate.check_key(key)
            .map_err(|early| Reject::TooManyRequests {
                what: self.what,
                retry_after: early.wait_time_from(DefaultClock::default().now()),
            })
    }

    fn take(scope: &Arc<Self>, key: String) -> Result<Option<Slot>, Reject> {
        if scope.concurrent == 0 {
            return Ok(None);
        }
        let mut running = scope.running.lock().unwrap_or_else(PoisonError::into_inner);
        let count = running.entry(key.clone()).or_insert(0);
        if *count >= scope.concurrent {
            return Err(Reject::TooManyRequests {
                what: scope.what,
                retry_after: CONCURRENCY_RETRY,
            });
        }
        *count += 1;
        drop(running);
        Ok(Some(Slot {
            scope: Arc::clone(scope),
            key,
        }))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut running = self
            .scope
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.key);
            }
        }
    }
}
