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
mod config;
mod flight;
mod gitlab;
mod inspect;
mod lookup;
mod recheck;
mod shape;
mod standing;
mod used;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ci_tunnel::config::value::Secret;
use tokio::time::timeout;

use super::cache::Cache;
use super::error::Reason;
use super::revocations::Revocations;
use super::{Authenticated, Error, JobCredential, TokenId, UNKNOWN_END, http, provider};
use crate::access::{Authorize, Grant, Granted, Listed};
use crate::metrics::Metrics;
use crate::store::Store;
use answer::Allowed;
use asks::Asks;
pub use config::Config;
use flight::Flights;
use gitlab::{Failure, Gitlab};
pub use inspect::inspect;
pub(super) use shape::is_job_token;
pub(super) use standing::Standing;
use used::Used;

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
    used: Used<Authenticated>,
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
        let own_url = config
            .external_url
            .as_deref()
            .unwrap_or_else(|| provider.url());
        let for_rules = config.authorize != Authorize::Gitlab;
        Ok(Some(Arc::new(Self {
            gitlab: Gitlab::new(provider.http()?, provider.url(), own_url, for_rules),
            provider: provider.name.clone(),
            identity_prefix: provider.identity_prefix().to_owned(),
            store: store.clone(),
            revocations: Arc::clone(revocations),
            asks: Asks::new(config.asks_per_second),
            flights: Flights::default(),
            known: Cache::new(MAX_KNOWN),
            refused: Cache::new(MAX_REFUSED),
            used: Used::default(),
            config,
        })))
    }

    /// Counts asks there from now on.
    pub(super) fn count_in(&self, metrics: &Metrics) {
        self.asks.count_in(metrics);
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

    /// What is known of a token. That of running requests is, even if the cache has forgotten it.
    fn standing(&self, key: &[u8; 32]) -> Option<Arc<Standing>> {
        let known = self.known.get(key);
        known.or_else(|| self.used.get(key)?.standing.clone())
    }

    fn fresh(&self, key: &[u8; 32], age: Duration) -> Option<Arc<Standing>> {
        self.standing(key)
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
            self.used.insert(key, &who);
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
        let known = self.standing(&key).filter(|known| known.check().is_ok());
        let place = self.asks.begin(known.is_some()).await;
        let _place = place.map_err(|reason| self.unavailable(reason.to_owned()))?;
        let asked = timeout(DEADLINE, self.gitlab.ask(&token, known.as_deref())).await;
        let asked = asked.unwrap_or_else(|_| Err(Failure::late(DEADLINE)));
        self.asks.heard(&asked);
        match asked {
            Ok(allowed) => self.allowed(key, token, known, allowed).await,
            Err(Failure::Refused) => {
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
                let project = &listed.config_project;
                Grant::Listed(Listed::read(
                    project.path_with_namespace.clone(),
                    project.id,
                    listed.configuration.as_ref(),
                ))
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
            reason: Reason(reason),
        }
    }
}

/// For all that GitLab is asked about one token.
const DEADLINE: Duration = Duration::from_secs(20);
/// So many good tokens are remembered, some KiB each.
const MAX_KNOWN: usize = 10_000;
/// So many refusals are, some bytes each.
const MAX_REFUSED: usize = 100_000;
