//! Who is the job: a credential is judged by the method it belongs to, and becomes an identity.
//!
//! What was judged good is remembered for as long as it lasts, so that a job's thousandth request costs a hash and a
//! look-up. Revocations are looked up every time, and [`Authenticator::changes`] tells running requests to do so again.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::access::{self, Denied, Explanation, Permit, Rules};
use crate::identity::{Agent, AgentId, JobIdentity};
use crate::store::{self, Store};

mod cache;
pub mod credential;
pub mod exchange;
mod http;
mod issue;
pub mod job_token;
mod local;
pub mod provider;
mod revocations;
mod session;
mod signed;
#[cfg(test)]
mod tests;

pub use credential::{Credential, JobCredential};
pub use issue::{Error as IssueError, Issued};

use cache::Cache;
use job_token::{JobTokens, Standing};
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

/// Why a credential is not accepted. Never holds a part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Credential(#[from] credential::Error),
    #[error("local job tokens are turned off on this server: use a credential of your CI system")]
    Disabled,
    #[error("the credential has expired: get a new one")]
    Expired,
    #[error("what its GitLab says of the job has changed: begin again")]
    JobChanged,
    #[error("the job has ended: its GitLab accepts its token no more")]
    JobEnded,
    #[error("{0} does not accept the job token: it is wrong, or its job has ended")]
    JobTokenRefused(String),
    #[error("the credential is damaged: {0}")]
    Malformed(&'static str),
    #[error("the credential is not valid yet: look at the clocks of its issuer and of this server")]
    NotYetValid,
    #[error("the credential has been revoked")]
    Revoked,
    #[error("the credential's signature is not this server's: it is forged, or of another server")]
    Signature,
    /// Says nothing of the credential.
    #[error("{provider} could not be asked about the credential: {reason}; try again")]
    Unavailable { provider: String, reason: String },
    #[error("no method of this server knows such a credential")]
    Unknown,
    #[error(
        "the credential is for agent {bound} alone, not for agent {asked}: take the context of agent {asked}"
    )]
    WrongAgent { bound: AgentId, asked: AgentId },
}

/// The id of a token (its `jti`): public, unlike the token.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(pub String);

/// A credential that was found good, and what it says.
#[derive(Debug, Clone)]
pub struct Authenticated {
    pub identity: Arc<JobIdentity>,
    pub token: TokenId,
    /// The tokens it was got with: revoking one of these revokes it.
    pub parents: Vec<TokenId>,
    /// The only agent it is good for, when there is one.
    pub bound_agent: Option<AgentId>,
    pub expires_at: SystemTime,
    revocations: Arc<Revocations>,
    /// Of a job token: how it stands with its GitLab.
    standing: Option<Arc<Standing>>,
}

/// Judges credentials and issues the server's own. One a server.
#[derive(Debug)]
pub struct Authenticator {
    config: Config,
    local: signed::Signer,
    session: signed::Signer,
    store: Store,
    revocations: Arc<Revocations>,
    verified: Cache<Arc<Authenticated>>,
    job_tokens: Option<Arc<JobTokens>>,
    _background: Vec<AbortOnDropHandle<()>>,
}

impl Authenticator {
    /// # Errors
    /// The store gives no keys or no revocations, or a provider's files can not be used.
    pub async fn new(config: Config, store: Store) -> Result<Self, StartError> {
        let revocations = Arc::new(Revocations::load(&store).await?);
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
            config,
            store,
            revocations,
            verified: Cache::new(MAX_VERIFIED),
            job_tokens,
            _background: background,
        })
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
            return job_tokens.authenticate(job).await;
        }
        let key = job.fingerprint();
        if let Some(known) = self.verified.get(&key) {
            known.still_valid()?;
            return Ok(known);
        }
        let authenticated = Arc::new(self.verify(job.expose(), SystemTime::now())?);
        authenticated.still_valid()?;
        self.verified.insert(key, authenticated.clone());
        Ok(authenticated)
    }

    /// Changes whenever revocations do: time for running requests to ask [`Authenticated::still_valid`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.revocations.changes()
    }

    /// By the method that the token claims to belong to. Nothing of the claim is believed but that.
    fn verify(&self, token: &str, now: SystemTime) -> Result<Authenticated, Error> {
        let claimed = signed::claimed_audience(token).ok_or(Error::Unknown)?;
        let claims = match claimed.as_str() {
            local::AUDIENCE if !self.config.local_job_tokens.enabled => {
                return Err(Error::Disabled);
            }
            local::AUDIENCE => local::verify(&self.local, token, now)?,
            session::AUDIENCE => session::verify(&self.session, token, now)?,
            _ => return Err(Error::Unknown),
        };
        Ok(self.authenticated(claims))
    }

    fn authenticated(&self, claims: signed::Claims) -> Authenticated {
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
            revocations: self.revocations.clone(),
            standing: None,
        }
    }
}

impl Authenticated {
    /// Whether the job may use `agent`, whose configuration here is `rules`.
    ///
    /// # Errors
    /// It may not.
    pub fn decide(&self, agent: &Agent, rules: &Rules) -> Result<Permit, Denied> {
        match &self.standing {
            Some(standing) => standing.granted().decide(&self.identity, agent, rules),
            None => access::decide(&self.identity, agent, rules),
        }
    }

    /// Whether a CI system goes on telling what becomes of it.
    pub fn is_told_of(&self) -> bool {
        self.standing.is_some()
    }

    /// Decides as [`Self::decide`] does and keeps the reasons.
    pub fn explain(&self, agent: &Agent, rules: &Rules) -> Explanation {
        match &self.standing {
            Some(standing) => standing.granted().explain(&self.identity, agent, rules),
            None => access::explain(&self.identity, agent, rules),
        }
    }

    /// Whether the credential is good still: for every further request with it, and for running ones.
    ///
    /// # Errors
    /// It has expired, its job has ended, or it or one that it was got with has been revoked.
    pub fn still_valid(&self) -> Result<(), Error> {
        // The revocation first: it cuts what runs, which the end of the credential's time does not.
        if self
            .revocations
            .hold_any(std::iter::once(&self.token).chain(&self.parents))
        {
            return Err(Error::Revoked);
        }
        if let Some(standing) = &self.standing {
            standing.check()?;
        }
        if self.expires_at <= SystemTime::now() {
            Err(Error::Expired)
        } else {
            Ok(())
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
