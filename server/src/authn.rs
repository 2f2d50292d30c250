//! Who is the job: a credential is judged by the method it belongs to, and becomes an identity.
//!
//! What was judged good is remembered for as long as it lasts, so that a job's thousandth request costs a hash and a
//! look-up. Revocations are looked up every time, and [`Authenticator::changes`] tells running requests to do so again.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::identity::JobIdentity;
use crate::metrics::Metrics;
use crate::store::{self, Store};

mod authenticated;
mod cache;
pub mod credential;
mod error;
pub mod examine;
pub mod exchange;
mod http;
mod issue;
pub mod job_token;
mod jwt;
mod local;
pub mod oidc;
pub mod provider;
mod revocations;
mod session;
mod signed;
#[cfg(test)]
pub mod tests;

pub use authenticated::Authenticated;
pub use credential::{Credential, JobCredential};
pub use error::Error;
pub use issue::{Error as IssueError, Issued};

use cache::Cache;
use job_token::JobTokens;
use revocations::Revocations;

/// Which credentials are accepted, and for how long the server's own are good.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Tokens that this server's command line issues.
    pub local_job_tokens: local::Config,
    /// The credentials inside KUBECONFIGs that this server makes.
    pub sessions: session::Config,
    /// The CI systems whose word is taken.
    pub providers: provider::Providers,
}

/// Why nobody can be authenticated.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("authn.providers: {0}")]
    Provider(String),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// The id of a token (its `jti`): public, unlike the token.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(pub String);

/// Judges credentials and issues the server's own. One a server.
#[derive(Debug)]
pub struct Authenticator {
    config: Config,
    local: signed::Signer,
    session: signed::Signer,
    issuers: oidc::Issuers,
    store: Store,
    revocations: Arc<Revocations>,
    /// Counts what may have made credentials void.
    changes: watch::Sender<u64>,
    verified: Cache<Arc<Authenticated>>,
    job_tokens: Option<Arc<JobTokens>>,
    _background: Vec<AbortOnDropHandle<()>>,
}

impl Authenticator {
    /// # Errors
    /// The store gives no keys or no revocations, or a provider's files can not be used.
    pub async fn new(config: Config, store: Store) -> Result<Self, StartError> {
        let changes = watch::Sender::new(0);
        let revocations = Arc::new(Revocations::load(&store, changes.clone()).await?);
        let follow = revocations::follow(revocations.clone(), store.clone());
        let mut background = vec![AbortOnDropHandle::new(tokio::spawn(follow))];
        let job_tokens = JobTokens::new(&config.providers, &store, &revocations)?;
        if let Some(job_tokens) = &job_tokens {
            let recheck = Arc::clone(job_tokens).recheck();
            background.push(AbortOnDropHandle::new(tokio::spawn(recheck)));
        }
        Ok(Self {
            local: local::signer(&store.secret(local::KEY).await?),
            session: session::signer(&store.secret(session::KEY).await?),
            issuers: oidc::Issuers::new(&config.providers, &changes),
            config,
            store,
            revocations,
            changes,
            verified: Cache::new(MAX_VERIFIED),
            job_tokens,
            _background: background,
        })
    }

    /// Begins to fetch what the providers' credentials are verified with, so that it is there before the first of them.
    ///
    /// # Errors
    /// A provider's settings can not be used, as a `ca_file` that is not there. That a provider is away is no error.
    pub fn start(&self, metrics: &Metrics) -> Result<(), StartError> {
        if let Some(job_tokens) = &self.job_tokens {
            job_tokens.count_in(metrics);
        }
        self.issuers.start(metrics)
    }

    /// Whose request this is, at the agent that the credential names.
    ///
    /// # Errors
    /// The credential is not good, or not for this agent.
    pub async fn authenticate(&self, credential: &Credential) -> Result<Arc<Authenticated>, Error> {
        let authenticated = self.authenticate_job(&credential.job).await?;
        match authenticated.bound_agent {
            Some(bound) if bound != credential.agent => Err(Error::WrongAgent {
                bound,
                asked: credential.agent,
            }),
            _ => Ok(authenticated),
        }
    }

    /// Whose job credential this is, whatever agent it is for.
    ///
    /// # Errors
    /// The credential is not good.
    pub async fn authenticate_job(&self, job: &JobCredential) -> Result<Arc<Authenticated>, Error> {
        if let Some(job_tokens) = &self.job_tokens
            && job_token::is_job_token(job.expose())
        {
            return Box::pin(job_tokens.authenticate(job)).await;
        }
        let key = job.fingerprint();
        if let Some(known) = self.verified.get(&key) {
            known.still_valid()?;
            return Ok(known);
        }
        // In a box, since every request's future would be as large as this rare one.
        let verified = Box::pin(self.verify(job.expose(), SystemTime::now())).await?;
        let authenticated = Arc::new(verified);
        authenticated.still_valid()?;
        self.verified.insert(key, authenticated.clone());
        Ok(authenticated)
    }

    /// Changes whenever credentials may have become void before their time: the moment for running requests to ask
    /// [`Authenticated::still_valid`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// By the method that the token's issuer stands for. Nothing of the token is believed for that.
    async fn verify(&self, token: &str, now: SystemTime) -> Result<Authenticated, Error> {
        match jwt::claimed_issuer(token) {
            Some(issuer) if issuer == signed::ISSUER => self.verify_own(token, now),
            Some(_) => Ok(self.of_id_token(self.issuers.verify(token, now).await?)),
            None => Err(Error::Unknown),
        }
    }

    fn verify_own(&self, token: &str, now: SystemTime) -> Result<Authenticated, Error> {
        let claimed = signed::claimed_audience(token).ok_or(Error::Unknown)?;
        let claims = match claimed.as_str() {
            local::AUDIENCE if !self.config.local_job_tokens.enabled => {
                return Err(Error::Disabled);
            }
            local::AUDIENCE => local::verify(&self.local, token, now)?,
            session::AUDIENCE => session::verify(&self.session, token, now)?,
            _ => return Err(Error::Unknown),
        };
        if !self.is_provider_here(&claims) {
            return Err(Error::ProviderGone(claims.job.provider));
        }
        Ok(self.of_own(claims))
    }

    /// Whether the job's provider is the one still that vouched for it. Under its name may be another by now.
    fn is_provider_here(&self, claims: &signed::Claims) -> bool {
        match claims.job.provider.as_str() {
            provider::LOCAL => true,
            name => {
                let provider = self.config.providers.get(name);
                let issuer = provider.and_then(|provider| provider.issuer());
                issuer.is_some() && issuer == claims.vouched_by.as_deref()
            }
        }
    }

    fn of_own(&self, claims: signed::Claims) -> Authenticated {
        let expires_at = claims.expires_at();
        Authenticated {
            identity: Arc::new(JobIdentity {
                expires_at: Some(expires_at),
                ..claims.job
            }),
            token: claims.jti,
            parents: claims.parents,
            bound_agent: claims.agent,
            expires_at,
            signed_by: None,
            revocations: self.revocations.clone(),
            standing: None,
        }
    }

    fn of_id_token(&self, verified: oidc::Verified) -> Authenticated {
        Authenticated {
            identity: Arc::new(verified.identity),
            token: verified.token,
            // Whoever has the key could have made tokens of any id: it can be revoked as they can.
            parents: vec![verified.key.token()],
            bound_agent: None,
            expires_at: verified.good_until,
            signed_by: Some(verified.key),
            revocations: self.revocations.clone(),
            standing: None,
        }
    }
}

impl TokenId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for TokenId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// So many good tokens are remembered, about 2 KiB each.
const MAX_VERIFIED: usize = 10_000;
/// Revocations of tokens whose end is not known are kept so long; no job runs longer.
const UNKNOWN_END: Duration = Duration::from_secs(31 * 24 * 3600);

impl From<http::BuildError> for StartError {
    fn from(error: http::BuildError) -> Self {
        Self::Provider(error.to_string())
    }
}
