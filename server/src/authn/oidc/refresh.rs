//! An issuer's keys over time: fetched by one task, kept through outages, fetched earlier when a token names a key that is
//! not known, but seldom.
//!
//! The last keys that were good stay until the issuer gives others, however long it is away. Nothing is remembered of
//! unknown keys but when they last led to a request, so that no number of them costs memory or requests.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ci_tunnel::runtime::backoff::Backoff;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::discovery::{Error, Found};
use super::keys::{KeyId, KeySet};
use crate::authn::signed::seconds;
use crate::metrics::{FetchLabels, Metrics, ProviderLabels};

/// Where keys come from.
pub(super) trait Source: Send + Sync + 'static {
    fn fetch(&self) -> impl Future<Output = Result<Found, Error>> + Send;
}

/// The keys of one issuer.
#[derive(Debug)]
pub(super) struct Keys {
    provider: String,
    pace: Pace,
    state: watch::Sender<State>,
    /// Told when a key is gone.
    withdrawn: watch::Sender<u64>,
}

/// How often the issuer is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) refresh: Duration,
    pub(super) min_refresh: Duration,
}

/// Why there is no set with the key that a token names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// The issuer does not publish it.
    Unknown,
    /// It could not be asked.
    Unavailable { retry_after: Duration },
}

#[derive(Debug, Clone)]
struct State {
    keys: Option<Arc<KeySet>>,
    /// Counts the answers, good and bad.
    answers: u64,
    /// Whether the last answer was none.
    failed: bool,
    fetching: bool,
    /// When an unknown key last led to a request.
    demanded: Option<Instant>,
    /// When the issuer is asked next by itself.
    next: Instant,
}

/// What an unknown key leads to.
#[derive(Debug, PartialEq, Eq)]
enum Demand {
    /// To a request.
    Begun,
    /// Something changed meanwhile.
    LookAgain,
    Refused,
    /// One is under way.
    Wait,
}

/// A token waits for keys no longer than this, while they are fetched on.
const PATIENCE: Duration = Duration::from_secs(5);
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LAST_RETRY: Duration = Duration::from_secs(60);

impl Keys {
    pub(super) fn new(provider: &str, pace: Pace, withdrawn: watch::Sender<u64>) -> Self {
        let state = State {
            keys: None,
            answers: 0,
            failed: false,
            // The task begins with a request.
            fetching: true,
            demanded: None,
            next: Instant::now(),
        };
        Self {
            provider: provider.to_owned(),
            pace,
            state: watch::Sender::new(state),
            withdrawn,
        }
    }

    /// The keys, if the one named `kid` is among them. Asks the issuer for newer ones if it may.
    pub(super) async fn naming(&self, kid: Option<&str>) -> Result<Arc<KeySet>, Missing> {
        let deadline = Instant::now() + PATIENCE;
        let mut states = self.state.subscribe();
        let mut demanded = false;
        loop {
            let state = states.borrow_and_update().clone();
            if let Some(keys) = &state.keys
                && kid.is_none_or(|kid| keys.names(kid))
            {
                return Ok(Arc::clone(keys));
            }
            if demanded && !state.fetching {
                return Err(state.missing());
            }
            match self.demand(state.answers, Instant::now()) {
                Demand::Begun => demanded = true,
                Demand::LookAgain => continue,
                Demand::Refused => return Err(state.missing()),
                Demand::Wait => {}
            }
            if !matches!(timeout_at(deadline, states.changed()).await, Ok(Ok(()))) {
                let retry_after = FIRST_RETRY;
                return Err(Missing::Unavailable { retry_after });
            }
        }
    }

    pub(super) fn publishes(&self, id: KeyId) -> bool {
        let state = self.state.borrow();
        state.keys.as_ref().is_some_and(|keys| keys.holds(id))
    }

    /// Fetches for ever.
    pub(super) async fn follow(self: Arc<Self>, source: impl Source, metrics: Metrics) {
        let backoff = Backoff::new(FIRST_RETRY, LAST_RETRY, 2.0, 0.3);
        let mut retries = backoff.expect("the numbers make a backoff").delays();
        let mut states = self.state.subscribe();
        loop {
            self.state.send_modify(|state| state.fetching = true);
            let answer = source.fetch().await;
            let pause = match &answer {
                Ok(_) => {
                    retries.reset();
                    // Many servers that were started at once shall not ask at once for ever.
                    self.pace.refresh.mul_f64(0.9 + 0.1 * rand::random::<f64>())
                }
                Err(_) => retries.next_delay(),
            };
            self.count(&answer, &metrics);
            self.take(answer, Instant::now() + pause);
            let demanded = states.wait_for(|state| state.fetching);
            if let Ok(Err(_)) = timeout(pause, demanded).await {
                return;
            }
        }
    }

    fn demand(&self, answers: u64, now: Instant) -> Demand {
        let mut demand = Demand::Wait;
        self.state.send_if_modified(|state| {
            if state.answers != answers {
                demand = Demand::LookAgain;
            } else if !state.fetching {
                let last = state.demanded;
                if last.is_some_and(|last| now < last + self.pace.min_refresh) {
                    demand = Demand::Refused;
                } else {
                    demand = Demand::Begun;
                    state.demanded = Some(now);
                    state.fetching = true;
                    return true;
                }
            }
            false
        });
        demand
    }

    fn take(&self, answer: Result<Found, Error>, next: Instant) {
        let new = match answer {
            Ok(found) => Some(Arc::new(found.keys)),
            Err(error) => {
                tracing::warn!(provider = self.provider, %error, "keys could not be fetched; those known stay");
                None
            }
        };
        let old = new.as_ref().and_then(|_| self.state.borrow().keys.clone());
        self.state.send_modify(|state| {
            state.failed = new.is_none();
            if new.is_some() {
                state.keys.clone_from(&new);
            }
            state.answers += 1;
            state.fetching = false;
            state.next = next;
        });
        if let Some(new) = new {
            self.announce(old.as_deref(), &new);
        }
    }

    /// Tells what is new and what is gone. After the new keys are in place: whoever is woken must see them.
    fn announce(&self, old: Option<&KeySet>, new: &KeySet) {
        let provider = &self.provider;
        let fresh = |id| !old.is_some_and(|old| old.holds(id));
        for key in new.iter().filter(|key| fresh(key.id)) {
            tracing::info!(provider, kid = key.kid, id = %key.id, "a key of the provider is new");
        }
        let gone = old.into_iter().flat_map(KeySet::iter);
        let gone: Vec<_> = gone.filter(|key| !new.holds(key.id)).collect();
        for key in &gone {
            tracing::info!(provider, kid = key.kid, id = %key.id, "a key of the provider is withdrawn");
        }
        if !gone.is_empty() {
            self.withdrawn.send_modify(|generation| *generation += 1);
        }
    }

    fn count(&self, answer: &Result<Found, Error>, metrics: &Metrics) {
        let provider = &self.provider;
        let fetch = FetchLabels {
            provider: provider.clone(),
            result: if answer.is_ok() { "ok" } else { "failed" },
        };
        metrics.oidc_fetches.get_or_create(&fetch).inc();
        let Ok(found) = answer else { return };
        let provider = ProviderLabels {
            provider: provider.clone(),
        };
        let keys = i64::try_from(found.keys.len()).unwrap_or(i64::MAX);
        metrics.oidc_keys.get_or_create(&provider).set(keys);
        let now = i64::try_from(seconds(SystemTime::now())).unwrap_or(i64::MAX);
        metrics.oidc_keys_fetched.get_or_create(&provider).set(now);
    }
}

impl State {
    fn missing(&self) -> Missing {
        // An issuer that can not be asked may well know the key.
        if self.failed || self.keys.is_none() {
            let retry_after = self.next.saturating_duration_since(Instant::now());
            Missing::Unavailable {
                retry_after: retry_after.max(Duration::from_secs(1)),
            }
        } else {
            Missing::Unknown
        }
    }
}

#[cfg(test)]
mod tests;
