//! ID tokens of CI systems, by OpenID Connect: the issuer's keys say whether a token is genuine, its claims whose job it is.
//!
//! The order never changes: form, header, issuer, signature, standard claims, and only then the claims that make the
//! identity. `sub` decides nothing: its composition is the project's to choose.

mod claims;
mod config;
mod discovery;
mod header;
mod inspect;
mod issuer;
mod keys;
mod refresh;
mod standard;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ci_tunnel::config::value::duration;
use tokio::sync::watch;

use super::error::Reason;
use super::provider::Providers;
use super::{StartError, jwt};
use crate::metrics::Metrics;
pub use config::Config;
pub use inspect::{Inspection, inspect};
pub(super) use issuer::{SigningKey, Verified};

use issuer::Issuer;

/// Why an ID token is not accepted. What is said of its content was verified, except the issuer's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "it is signed by another algorithm than {provider}'s tokens must be ({allowed}): see authn.providers, \
         oidc.algorithms"
    )]
    Algorithm { provider: String, allowed: String },
    #[error(
        "it is for the audience {found}, but tokens of {provider} must be for {expected}: let the job ask for one \
         with that `aud`"
    )]
    Audience {
        provider: String,
        found: String,
        expected: String,
    },
    #[error("its claim {claim} {problem}")]
    Claim {
        claim: String,
        problem: &'static str,
    },
    #[error(
        "it ended {} ago, by this server's clock: get a new one in the job, or exchange it early for a KUBECONFIG \
         of longer life",
        duration::format(Duration::from_secs(ago.as_secs()))
    )]
    Expired { ago: Duration },
    #[error(
        "it is of a pipeline for a fork: {project} is the fork, {runs_in} runs the job; see authn.providers, \
         oidc.forks"
    )]
    Fork { project: String, runs_in: String },
    #[error("its header {0}")]
    Header(&'static str),
    #[error("it names no key (`kid`), and {provider} has several")]
    KeyNotNamed { provider: String },
    #[error(
        "the keys of {provider} are not known, since its issuer could not be asked; try again in {}s",
        retry_after.as_secs().max(1)
    )]
    KeysUnavailable {
        provider: String,
        retry_after: Duration,
    },
    #[error("it is malformed: {0}")]
    Malformed(&'static str),
    #[error(
        "it is valid only in {} by this server's clock: look at the clocks of its issuer and of this server",
        duration::format(Duration::from_secs(ahead.as_secs().max(1)))
    )]
    NotYetValid { ahead: Duration },
    #[error("its signature is not by the key of {provider} that it names: it is forged or damaged")]
    Signature { provider: String },
    #[error("no provider of this server has its issuer {issuer}")]
    UnknownIssuer {
        issuer: String,
        #[source]
        configured: Reason,
    },
    #[error(
        "it names a key that {provider} does not publish: it is forged, or older than the last change of keys"
    )]
    UnknownKey { provider: String },
}

/// All issuers whose word is taken.
#[derive(Debug)]
pub(super) struct Issuers {
    issuers: Vec<Arc<Issuer>>,
}

impl Issuers {
    /// `changes` is bumped when a key is withdrawn.
    pub(super) fn new(providers: &Providers, changes: &watch::Sender<u64>) -> Self {
        let issuers = providers
            .iter()
            .filter_map(|provider| Issuer::new(provider, changes.clone()))
            .map(Arc::new)
            .collect();
        Self { issuers }
    }

    /// Begins to fetch keys. Without it each issuer's are fetched when its first token comes.
    pub(super) fn start(&self, metrics: &Metrics) -> Result<(), StartError> {
        self.issuers.iter().try_for_each(|issuer| {
            let named = |error| format!("{}: {error}", issuer.provider());
            issuer
                .start(metrics)
                .map_err(|error| StartError::Provider(named(error)))
        })
    }

    /// Whose job `token` is of, as the issuer says whose name it bears. `now` is within its time.
    pub(super) async fn verify(&self, token: &str, now: SystemTime) -> Result<Verified, Error> {
        let parts = jwt::parse(token).map_err(|malformed| Error::Malformed(malformed.0))?;
        let header = header::Header::read(&parts.header)?;
        let claimed = parts.claims.get("iss").and_then(serde_json::Value::as_str);
        let claimed = claimed.ok_or(Error::Malformed("it names no issuer"))?;
        let issuer = self.issuers.iter().find(|issuer| issuer.url() == claimed);
        match issuer {
            Some(issuer) => issuer.verify(&parts, &header, now).await,
            None => Err(self.unknown(claimed)),
        }
    }

    fn unknown(&self, issuer: &str) -> Error {
        let known: Vec<_> = self.issuers.iter().map(|issuer| issuer.url()).collect();
        Error::UnknownIssuer {
            issuer: shown(issuer),
            configured: Reason(match known.as_slice() {
                [] => "none is configured".to_owned(),
                known => format!("known are {}", known.join(", ")),
            }),
        }
    }
}

impl Error {
    /// For how long it makes no sense to try again, where it is not the token's fault.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::KeysUnavailable { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}

/// A text of a token as a message may hold it.
fn shown(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}
