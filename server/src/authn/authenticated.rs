//! A credential that was found good: what may be asked of it while requests with it run.

use std::sync::Arc;
use std::time::SystemTime;

use super::job_token::Standing;
use super::revocations::Revocations;
use super::{Error, TokenId, oidc};
use crate::access::{self, Denied, Explanation, Granted, Permit, Rules};
use crate::identity::{Agent, AgentId, JobIdentity};

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
    /// The key of an ID token.
    pub(super) signed_by: Option<oidc::SigningKey>,
    pub(super) revocations: Arc<Revocations>,
    /// Of a job token: how it stands with its GitLab.
    pub(super) standing: Option<Arc<Standing>>,
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

    /// The credential that the job had first: of a session credential, that it was got with.
    pub fn origin(&self) -> &TokenId {
        match self.bound_agent {
            Some(_) => self.parents.last().unwrap_or(&self.token),
            None => &self.token,
        }
    }

    /// What the job's CI system lets it use by its latest word, where that has one.
    pub fn granted(&self) -> Option<Arc<Granted>> {
        self.standing.as_ref().map(|standing| standing.granted())
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
    /// It has expired, its job has ended, it or one that it was got with has been revoked, or its issuer withdrew its key
    /// before its time.
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
        } else if self
            .signed_by
            .as_ref()
            .is_some_and(|key| !key.is_published())
        {
            // After the end, since in an orderly change of keys the old one is published until its last token has ended:
            // only a key that is gone before that was given up, and what runs with its tokens is cut.
            Err(Error::KeyWithdrawn)
        } else {
            Ok(())
        }
    }
}
