//! What can go wrong between the agent and its API server, and as what the server hears of it.

use std::time::Duration;

use ci_tunnel::protocol::head::Cause;

use super::credentials;

/// Why the API server gave no response head. Each message is a sentence for the person who made the request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the agent got an answer to an upgrade from {endpoint} that is none: {reason}")]
    BadUpgrade { endpoint: String, reason: String },
    #[error("the answer of {endpoint} can not be carried: {reason}")]
    BadResponse { endpoint: String, reason: String },
    #[error("the request's body broke off: {0}")]
    Body(String),
    #[error("the agent has no usable credentials for its API server: {0}")]
    Credentials(#[from] credentials::Error),
    #[error("the agent will not send this request: {reason}")]
    Refused { reason: String },
    #[error("{endpoint} gave the agent no response head in {} s", deadline.as_secs())]
    Timeout {
        endpoint: String,
        deadline: Duration,
    },
    #[error("the agent can not reach {endpoint}: {reason}")]
    Unreachable { endpoint: String, reason: String },
    #[error("the agent and {endpoint} do not trust each other: {reason}")]
    Untrusted { endpoint: String, reason: String },
}

impl Error {
    /// The cause that the server is told.
    pub fn cause(&self) -> Cause {
        match self {
            Self::BadUpgrade { .. } => Cause::BadUpgrade,
            Self::BadResponse { .. } | Self::Body(_) => Cause::Internal,
            Self::Credentials(_) => Cause::Credentials,
            Self::Refused { .. } => Cause::Refused,
            Self::Timeout { .. } => Cause::Timeout,
            Self::Unreachable { .. } => Cause::Unreachable,
            Self::Untrusted { .. } => Cause::Untrusted,
        }
    }
}
