//! Why a credential is not accepted, in words for who shows it.

use std::time::Duration;

use super::{credential, oidc};
use crate::identity::AgentId;

/// Why a credential is not accepted. Never holds a part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Credential(#[from] credential::Error),
    #[error("local job tokens are turned off on this server: use a credential of your CI system")]
    Disabled,
    #[error("the ID token is not accepted: {0}")]
    IdToken(#[from] oidc::Error),
    #[error("the key that signed the credential is withdrawn by its issuer: get a new one")]
    KeyWithdrawn,
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
    #[error(
        "the credential was got from the provider {0}, which this server no longer has, or by another issuer: get a new one"
    )]
    ProviderGone(String),
    #[error("the credential has been revoked")]
    Revoked,
    #[error("the credential's signature is not this server's: it is forged, or of another server")]
    Signature,
    /// Says nothing of the credential.
    #[error("{provider} could not be asked about the credential; try again")]
    Unavailable {
        provider: String,
        #[source]
        reason: Reason,
    },
    #[error("no method of this server knows such a credential")]
    Unknown,
    #[error(
        "the credential is for agent {bound} alone, not for agent {asked}: take the context of agent {asked}"
    )]
    WrongAgent { bound: AgentId, asked: AgentId },
}

/// What only the operator is told, since it holds names of this server's network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Reason(pub(super) String);

impl Error {
    /// When to try again, where the credential may be good and only the provider could not be asked.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::IdToken(error) => error.retry_after(),
            Self::Unavailable { .. } => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}
