//! Local job tokens: issued by this server's command line, for systems that have no ID tokens, for demos and tests.

use std::time::{Duration, SystemTime};

use ci_tunnel::config::value::duration;
use serde::{Deserialize, Serialize};

use super::Error;
use super::signed::{Claims, Signer};
use crate::store::SecretKey;

/// The name of the signing key in the store.
pub(super) const KEY: &str = "local-job-token-key";
pub(super) const AUDIENCE: &str = "ci-tunnel/job";
const TYPE: &str = "ci-tunnel-job+jwt";

/// Local job tokens in the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether they are issued and accepted. Default: true.
    pub enabled: bool,
    /// The longest time for which one can be issued. Default: 24h.
    #[serde(with = "duration")]
    pub max_lifetime: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            max_lifetime: Duration::from_secs(24 * 3600),
        }
    }
}

pub(super) fn signer(key: &SecretKey) -> Signer {
    Signer::new(TYPE, AUDIENCE, key)
}

pub(super) fn verify(signer: &Signer, token: &str, now: SystemTime) -> Result<Claims, Error> {
    let claims = signer.verify(token, now)?;
    if claims.agent.is_some() || !claims.parents.is_empty() {
        return Err(Error::Malformed("a job token is bound to no agent"));
    }
    Ok(claims)
}
