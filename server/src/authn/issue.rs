//! Issuing and revoking the server's own tokens.

use std::time::{Duration, SystemTime};

use ci_tunnel::config::value::duration;

use super::job_token::Standing;
use super::{Authenticated, Authenticator, JobCredential, TokenId, UNKNOWN_END};
use crate::identity::{AgentId, JobIdentity};
use crate::store::{self, JobTokenRecord};

/// Why no token was issued or revoked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("local job tokens are turned off: set authn.local_job_tokens.enabled")]
    Disabled,
    #[error("a session credential gives no further credentials: use the one it was got with")]
    FromSession,
    #[error("a lifetime of {} is not possible: more than 0 and at most {} ({setting})", duration::format(*asked), duration::format(*max))]
    Lifetime {
        asked: Duration,
        max: Duration,
        setting: &'static str,
    },
    #[error("a GitLab job token is good for as long as its job runs: ask for no lifetime")]
    LivesWithJob,
    #[error("the credential that it is to be got with: {0}")]
    Parent(#[from] super::Error),
    #[error("the token could not be signed: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(
        "no job token {0} was issued here: see `job-token list`, or revoke it all the same with --unlisted"
    )]
    Unlisted(TokenId),
}

/// A new token of this server.
#[derive(Debug, Clone)]
pub struct Issued {
    pub credential: JobCredential,
    pub token: TokenId,
    pub expires_at: SystemTime,
}

impl Authenticator {
    /// A token for a job that proves itself in no other way.
    ///
    /// # Errors
    /// Local job tokens are turned off, `lifetime` is over the limit, or the store fails.
    pub async fn issue_job_token(
        &self,
        job: &JobIdentity,
        lifetime: Duration,
    ) -> Result<Issued, Error> {
        let config = &self.config.local_job_tokens;
        if !config.enabled {
            return Err(Error::Disabled);
        }
        check_lifetime(
            lifetime,
            config.max_lifetime,
            "authn.local_job_tokens.max_lifetime",
        )?;
        let now = SystemTime::now();
        let claims = self.local.claims(job, now, now + lifetime);
        let credential = self.local.sign(&claims)?;
        let record = JobTokenRecord {
            jti: claims.jti.to_string(),
            description: describe(job),
            issued_at: now,
            expires_at: claims.expires_at(),
            revoked: false,
        };
        // Before anybody has the token: one that is not listed could not be revoked.
        self.store.record_job_token(&record).await?;
        Ok(Issued {
            credential,
            expires_at: claims.expires_at(),
            token: claims.jti,
        })
    }

    /// A credential for one agent, for the job of another credential. `lifetime`: the configured one when `None`.
    ///
    /// # Errors
    /// `parent` is a session credential itself or no longer good, or `lifetime` is over the limit.
    pub fn issue_session(
        &self,
        parent: &Authenticated,
        agent: AgentId,
        lifetime: Option<Duration>,
    ) -> Result<Issued, Error> {
        // Else one leaked session credential could be renewed for ever.
        if parent.bound_agent.is_some() {
            return Err(Error::FromSession);
        }
        parent.still_valid()?;
        if let Some(standing) = &parent.standing {
            return with_job_token(parent, standing, lifetime);
        }
        let config = &self.config.sessions;
        let lifetime = lifetime.unwrap_or(config.lifetime);
        check_lifetime(lifetime, config.max_lifetime, "authn.sessions.max_lifetime")?;
        let now = SystemTime::now();
        let mut claims = self.session.claims(&parent.identity, now, now + lifetime);
        claims.agent = Some(agent);
        let provider = self.config.providers.get(&parent.identity.provider);
        let issuer = provider.and_then(|provider| provider.issuer());
        claims.vouched_by = issuer.map(str::to_owned);
        claims.parents = parent
            .parents
            .iter()
            .chain([&parent.token])
            .cloned()
            .collect();
        let credential = self.session.sign(&claims)?;
        Ok(Issued {
            credential,
            expires_at: claims.expires_at(),
            token: claims.jti,
        })
    }

    /// Makes a token void, and the session credentials got with it. `unlisted`: even if this server did not issue it,
    /// as it is with ID tokens and session credentials, whose ids are in the audit log.
    ///
    /// # Errors
    /// The token is not listed, or the store fails.
    pub async fn revoke(&self, token: &TokenId, unlisted: bool) -> Result<(), Error> {
        // Its last session credential may have been issued in its last moment.
        let afterwards = self.config.sessions.max_lifetime;
        let until = match self.store.job_token(&token.0).await? {
            Some(record) => record.expires_at + afterwards,
            None if unlisted => SystemTime::now() + UNKNOWN_END + afterwards,
            None => return Err(Error::Unlisted(token.clone())),
        };
        self.store.revoke_job_token(&token.0, until).await?;
        self.revocations.reload(&self.store).await?;
        Ok(())
    }
}

/// A job token ends with its job, which a session credential could not be made to do by another replica or after a restart
/// of this one: the token itself is handed back, as GitLab's own KUBECONFIG holds it.
fn with_job_token(
    parent: &Authenticated,
    standing: &Standing,
    lifetime: Option<Duration>,
) -> Result<Issued, Error> {
    if lifetime.is_some() {
        return Err(Error::LivesWithJob);
    }
    Ok(Issued {
        credential: JobCredential::new(standing.token.expose()).map_err(super::Error::from)?,
        token: parent.token.clone(),
        expires_at: parent.expires_at,
    })
}

fn check_lifetime(asked: Duration, max: Duration, setting: &'static str) -> Result<(), Error> {
    // Whole seconds are what a token can say.
    if asked < Duration::from_secs(1) || asked > max {
        return Err(Error::Lifetime {
            asked,
            max,
            setting,
        });
    }
    Ok(())
}

/// For whom a token is, for the list of tokens.
fn describe(job: &JobIdentity) -> String {
    let mut text = job.project.path.to_string();
    let parts = [
        ("job", job.job_id.as_deref()),
        ("ref", job.git_ref.as_deref()),
        (
            "environment",
            job.environment
                .as_ref()
                .and_then(|environment| environment.name.as_deref()),
        ),
        ("user", job.user.as_ref().map(|user| user.login.as_str())),
    ];
    for (name, value) in parts {
        if let Some(value) = value {
            text.push_str(&format!(", {name} {value}"));
        }
    }
    text
}
