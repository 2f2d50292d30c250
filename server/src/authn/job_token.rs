//! GitLab job tokens: `CI_JOB_TOKEN`, as the KUBECONFIG holds it that GitLab itself writes into a job. GitLab is asked
//! whose it is, and what the job may use.
//!
//! ```text
//! token ─ shape ─▶ known and fresh? ─▶ refused lately? ─▶ one ask a token, bounded in number ─▶ Standing
//!                                                              ▲
//!            running requests: every token again at `recheck` ─┘ ended: they are cut
//! ```

mod answer;
mod asks;
mod flight;
mod shape;
mod standing;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use ci_tunnel::config::value::{Secret, duration};
use serde::{Deserialize, Serialize};
use tokio::time::MissedTickBehavior;

use super::cache::Cache;
use super::revocations::Revocations;
use super::{Authenticated, Error, JobCredential, TokenId, UNKNOWN_END, http, provider};
use crate::access::{Authorize, Grant, Granted, Listed};
use crate::store::Store;
use answer::{Allowed, Gitlab};
use asks::Asks;
use flight::Flights;
pub(super) use shape::is_job_token;
pub(super) use standing::Standing;

/// Job tokens of a GitLab in the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Who decides what a job may use: `gitlab`, `config` (the agents' files here) or `both`. Default: both.
    pub authorize: Authorize,
    /// How long GitLab's word on a token is taken for further requests. Default: 60s.
    #[serde(with = "duration")]
    pub cache: Duration,
    /// How long its refusal is. Default: 10s.
    #[serde(with = "duration")]
    pub cache_refusals: Duration,
    /// While a request runs GitLab is asked about its token again after so long, and the request ends when the job has;
    /// 0s: it is not asked again. Default: 60s.
    #[serde(with = "duration")]
    pub recheck: Duration,
    /// How much longer than `cache` the last good word is taken while GitLab can not be reached. Default: 0s.
    #[serde(with = "duration")]
    pub stale: Duration,
    /// How many tokens a second that are not known to be good GitLab is asked about; twice as many at once. Default: 50.
    pub asks_per_second: NonZeroU32,
    /// What GitLab calls itself (its `external_url`), when that is not the provider's `url`.
    pub external_url: Option<String>,
}

/// Judges the job tokens of one GitLab.
#[derive(Debug)]
pub(super) struct JobTokens {
    config: Config,
    provider: String,
    identity_prefix: String,
    gitlab: Gitlab,
    store: Store,
    revocations: Arc<Revocations>,
    asks: Asks,
    flights: Flights,
    known: Cache<Arc<Standing>>,
    refused: Cache<(Instant, Error)>,
    /// Of every token that requests were begun with, whoever holds it still.
    used: Mutex<HashMap<[u8; 32], Weak<Authenticated>>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            authorize: Authorize::default(),
            cache: Duration::from_secs(60),
            cache_refusals: Duration::from_secs(10),
            recheck: Duration::from_secs(60),
            stale: Duration::ZERO,
            asks_per_second: NonZeroU32::new(50).expect("50 is not 0"),
            external_url: None,
        }
    }
}

impl Config {
    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        let least = Duration::from_secs(1);
        if !self.recheck.is_zero() && self.recheck < least {
            return Err("recheck must be 1s at least, or 0s for never".to_owned());
        }
        match &self.external_url {
            Some(url) if !url.starts_with("https://") && !url.starts_with("http://") => Err(
                format!("external_url is {url:?}: it must begin with `https://` or `http://`"),
            ),
            _ => Ok(()),
        }
    }
}

impl JobTokens {
    /// None when no provider accepts job tokens; there is one at most, since a token does not say whose it is.
    pub(super) fn new(
        providers: &provider::Providers,
        store: &Store,
        revocations: &Arc<Revocations>,
    ) -> Result<Option<Arc<Self>>, http::BuildError> {
        let accepting = |provider: &&provider::Config| provider.job_tokens.is_some();
        let Some(provider) = providers.iter().find(accepting) else {
            return Ok(None);
        };
        let config = provider.job_tokens.clone().unwrap_or_default();
        let own_url = config.external_url.as_deref().unwrap_or(provider.url());
        Ok(Some(Arc::new(Self {
            gitlab: Gitlab::new(provider.http()?, provider.url(), own_url),
            provider: provider.name.clone(),
            identity_prefix: provider.identity_prefix().to_owned(),
            store: store.clone(),
            revocations: Arc::clone(revocations),
            asks: Asks::new(config.asks_per_second),
            flights: Flights::default(),
            known: Cache::new(MAX_KNOWN),
            refused: Cache::new(MAX_REFUSED),
            used: Mutex::default(),
            config,
        })))
    }

    /// Whose job token this is.
    pub(super) async fn authenticate(
        &self,
        job: &JobCredential,
    ) -> Result<Arc<Authenticated>, Error> {
        let key = job.fingerprint();
        let standing = match self.fresh(&key, self.config.cache) {
            Some(standing) => standing,
            None => {
                self.refusal(&key)?;
                self.gitlab.check_issuer(job.expose(), SystemTime::now())?;
                let token =
                    Secret::new(job.expose()).map_err(|_| Error::Malformed("it is empty"))?;
                self.ask_once(key, token, self.config.cache).await?
            }
        };
        let who = self.holder(key, &standing);
        who.still_valid()?;
        Ok(who)
    }

    fn fresh(&self, key: &[u8; 32], age: Duration) -> Option<Arc<Standing>> {
        self.known
            .get(key)
            .filter(|standing| standing.is_younger(age))
    }

    fn refusal(&self, key: &[u8; 32]) -> Result<(), Error> {
        match self.refused.get(key) {
            Some((since, error)) if since.elapsed() < self.config.cache_refusals => Err(error),
            _ => Ok(()),
        }
    }

    /// What all requests with a token share, while there are any.
    fn holder(&self, key: [u8; 32], standing: &Arc<Standing>) -> Arc<Authenticated> {
        standing.holder(|identity| {
            let who = Arc::new(Authenticated {
                identity,
                token: standing.id.clone(),
                parents: Vec::new(),
                bound_agent: None,
                // The job's end is GitLab's to tell.
                expires_at: SystemTime::now() + UNKNOWN_END,
                signed_by: None,
                revocations: Arc::clone(&self.revocations),
                standing: Some(Arc::clone(standing)),
            });
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            used.insert(key, Arc::downgrade(&who));
            who
        })
    }

    /// Asks GitLab, once for all who want to know of this token now, unless it was asked within `age`.
    async fn ask_once(
        &self,
        key: [u8; 32],
        token: Secret,
        age: Duration,
    ) -> Result<Arc<Standing>, Error> {
        let flight = self.flights.join(key);
        flight
            .land(async {
                match self.fresh(&key, age) {
                    Some(standing) => Ok(standing),
                    None => self.ask(key, token).await,
                }
            })
            .await
    }

    async fn ask(&self, key: [u8; 32], token: Secret) -> Result<Arc<Standing>, Error> {
        let known = self.known.get(&key).filter(|known| known.check().is_ok());
        let place = self.asks.begin(known.is_some()).await;
        let _place = place.map_err(|reason| self.unavailable(reason.to_owned()))?;
        let asked = self.gitlab.ask(&token, known.as_deref()).await;
        self.asks.heard(&asked);
        match asked {
            Ok(allowed) => self.allowed(key, token, known, allowed).await,
            Err(answer::Failure::Refused) => {
                let refusal = Error::JobTokenRefused(self.provider.clone());
                self.refused.insert(key, (Instant::now(), refusal.clone()));
                if let Some(known) = known {
                    known.end(Error::JobEnded);
                    self.revocations.announce();
                }
                Err(refusal)
            }
            Err(failure) => {
                let reason = failure.to_string();
                tracing::warn!(
                    provider = self.provider,
                    reason,
                    "a job token could not be judged"
                );
                let stale = self.config.cache + self.config.stale;
                known
                    .filter(|known| known.is_younger(stale))
                    .ok_or_else(|| self.unavailable(reason))
            }
        }
    }

    async fn allowed(
        &self,
        key: [u8; 32],
        token: Secret,
        known: Option<Arc<Standing>>,
        allowed: Allowed,
    ) -> Result<Arc<Standing>, Error> {
        let granted = Arc::new(self.granted(&allowed).await?);
        let identity = allowed.identity(&self.provider, &self.identity_prefix);
        let identity = Arc::new(identity.map_err(|reason| self.unavailable(reason))?);
        if let Some(known) = known {
            if known.is(&identity) {
                if known.renew(granted) {
                    self.revocations.announce();
                }
                self.known.insert(key, Arc::clone(&known));
                return Ok(known);
            }
            known.end(Error::JobChanged);
            self.revocations.announce();
        }
        let id = TokenId(format!("{}/job/{}", self.provider, allowed.job.id));
        let standing = Arc::new(Standing::new(id, token, allowed.job, identity, granted));
        self.known.insert(key, Arc::clone(&standing));
        Ok(standing)
    }

    /// GitLab's list, as far as it is of agents that are registered here.
    async fn granted(&self, allowed: &Allowed) -> Result<Granted, Error> {
        let authorize = self.config.authorize;
        if authorize == Authorize::Config {
            let agents = HashMap::new();
            return Ok(Granted { authorize, agents });
        }
        let registered = self.store.agents().await;
        let registered = registered.map_err(|error| self.unavailable(error.to_string()))?;
        let grant = |registration: crate::store::Registration| {
            let id = registration.agent.id;
            let listed = allowed.agents.iter().find(|listed| listed.id == id.0)?;
            let grant = if registration.id_given {
                let project = listed.config_project.path_with_namespace.clone();
                Grant::Listed(Listed::read(project, listed.configuration.as_ref()))
            } else {
                Grant::NotGivenHere
            };
            Some((id, grant))
        };
        Ok(Granted {
            authorize,
            agents: registered.into_iter().filter_map(grant).collect(),
        })
    }

    fn unavailable(&self, reason: String) -> Error {
        Error::Unavailable {
            provider: self.provider.clone(),
            reason,
        }
    }

    /// Asks about the tokens of running requests again, for ever.
    pub(super) async fn recheck(self: Arc<Self>) {
        let age = self.config.recheck;
        if age.is_zero() {
            return;
        }
        let mut tick = tokio::time::interval((age / 10).clamp(SHORTEST_TICK, LONGEST_TICK));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let mut asks = tokio::task::JoinSet::new();
            for (key, standing) in self.due(age) {
                let this = Arc::clone(&self);
                asks.spawn(async move {
                    // The cache may have forgotten it, or hold one of an earlier word.
                    if this.known.get(&key).is_none() {
                        this.known.insert(key, Arc::clone(&standing));
                    }
                    // What comes of it is in the standing; a GitLab that does not answer changes nothing.
                    let _ = this.ask_once(key, standing.token.clone(), age).await;
                });
            }
            while asks.join_next().await.is_some() {}
        }
    }

    /// The tokens of running requests that GitLab was not asked about for `age`.
    fn due(&self, age: Duration) -> Vec<([u8; 32], Arc<Standing>)> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, who| who.strong_count() > 0);
        let standing = |(key, who): (&[u8; 32], &Weak<Authenticated>)| {
            let standing = who.upgrade()?.standing.clone()?;
            let due = standing.check().is_ok() && !standing.is_younger(age);
            due.then_some((*key, standing))
        };
        used.iter().filter_map(standing).collect()
    }
}

/// So many good tokens are remembered, some KiB each.
const MAX_KNOWN: usize = 10_000;
/// So many refusals are, some bytes each.
const MAX_REFUSED: usize = 100_000;
const SHORTEST_TICK: Duration = Duration::from_millis(100);
const LONGEST_TICK: Duration = Duration::from_secs(5);
