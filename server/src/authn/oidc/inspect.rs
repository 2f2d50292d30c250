//! Whether an issuer can be used, for `check`: fetches its keys once.

use std::time::SystemTime;

use super::discovery::{self, Web};
use super::refresh::Source;
use crate::authn::{http, provider};

/// What an issuer looks like from here.
#[derive(Debug)]
pub struct Inspection {
    pub issuer: String,
    /// The keys that can be used.
    pub keys: usize,
    /// Seconds by which its clock is ahead of ours, where it tells.
    pub clock_ahead: Option<i64>,
    /// Seconds that this may come to.
    pub clock_skew: u64,
}

/// Why an issuer can not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Build(#[from] http::BuildError),
    #[error(transparent)]
    Discovery(#[from] discovery::Error),
}

/// Asks the issuer of `provider`; `None` when it has no ID tokens.
///
/// # Errors
/// Its keys can not be fetched.
pub async fn inspect(provider: &provider::Config) -> Option<Result<Inspection, Error>> {
    let config = provider.oidc.clone()?;
    let issuer = config.issuer(provider.url()).to_owned();
    let clock_skew = config.clock_skew.as_secs();
    let fetch = async {
        let web = Web {
            client: provider.http()?,
            issuer: issuer.clone(),
            config,
        };
        Ok(web.fetch().await?)
    };
    Some(fetch.await.map(|found| Inspection {
        issuer,
        keys: found.keys.len(),
        clock_ahead: found.date.map(ahead),
        clock_skew,
    }))
}

fn ahead(other: SystemTime) -> i64 {
    let seconds =
        |duration: std::time::Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match other.duration_since(SystemTime::now()) {
        Ok(ahead) => seconds(ahead),
        Err(behind) => -seconds(behind.duration()),
    }
}
