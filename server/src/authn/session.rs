//! Session credentials: what the KUBECONFIGs hold that this server makes. Good for one agent, and void with the
//! credential they were got with, but living longer than an ID token of five minutes.

use std::time::{Duration, SystemTime};

use ci_tunnel::config::value::duration;
use serde::{Deserialize, Serialize};

use super::Error;
use super::signed::{Claims, Signer};
use crate::store::SecretKey;

/// The name of the signing key in the store.
pub(super) const KEY: &str = "session-key";
pub(super) const AUDIENCE: &str = "ci-tunnel/session";
const TYPE: &str = "ci-tunnel-session+jwt";

/// Session credentials in the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Config {
    /// How long one is good when the job asks for no other time. Default: 1h.
    #[serde(with = "duration")]
    pub lifetime: Duration,
    /// The longest time a job can ask for. Default: 12h.
    #[serde(with = "duration")]
    pub max_lifetime: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_secs(3600),
            max_lifetime: Duration::from_secs(12 * 3600),
        }
    }
}

/// The settings as the file has them, not yet compared with each other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    #[serde(with = "duration")]
    lifetime: Duration,
    #[serde(with = "duration")]
    max_lifetime: Duration,
}

impl Default for Written {
    fn default() -> Self {
        let Config {
            lifetime,
            max_lifetime,
        } = Config::default();
        Self {
            lifetime,
            max_lifetime,
        }
    }
}

impl TryFrom<Written> for Config {
    type Error = String;

    fn try_from(
        Written {
            lifetime,
            max_lifetime,
        }: Written,
    ) -> Result<Self, String> {
        if lifetime < Duration::from_secs(1) {
            return Err("sessions.lifetime must be 1s at least".to_owned());
        }
        if lifetime > max_lifetime {
            let (lifetime, max) = (duration::format(lifetime), duration::format(max_lifetime));
            return Err(format!(
                "sessions.lifetime, {lifetime}, is over sessions.max_lifetime, {max}"
            ));
        }
        Ok(Self {
            lifetime,
            max_lifetime,
        })
    }
}

pub(super) fn signer(key: &SecretKey) -> Signer {
    Signer::new(TYPE, AUDIENCE, key)
}

pub(super) fn verify(signer: &Signer, token: &str, now: SystemTime) -> Result<Claims, Error> {
    let claims = signer.verify(token, now)?;
    if claims.agent.is_none() || claims.parents.is_empty() {
        return Err(Error::Malformed(
            "a session credential names its agent and its parent",
        ));
    }
    Ok(claims)
}
