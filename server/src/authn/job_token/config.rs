//! `job_tokens` of a provider in the server's file.

use std::num::NonZeroU32;
use std::time::Duration;

use ci_tunnel::config::value::duration;
use serde::{Deserialize, Serialize};

use crate::access::Authorize;

/// Job tokens of a GitLab in the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Who decides what a job may use: `gitlab`, `config` (the agents' files here) or `both`. Default: both.
    pub authorize: Authorize,
    /// How long GitLab's word on a token is taken for further requests. Default: 60s.
    #[serde(with = "duration")]
    pub cache: Duration,
    /// How long its refusal is. Default: 10s.
    #[serde(with = "duration")]
    pub cache_refusals: Duration,
    /// While a request runs GitLab is asked about its token again after so long, and the request ends when the job has;
    /// 0s: it is not asked again. Default: 60s.
    #[serde(with = "duration")]
    pub recheck: Duration,
    /// How much longer than `cache` the last good word is taken while GitLab can not be reached. Default: 0s.
    #[serde(with = "duration")]
    pub stale: Duration,
    /// How many tokens a second that are not known to be good GitLab is asked about; twice as many at once. Default: 50.
    pub asks_per_second: NonZeroU32,
    /// What GitLab calls itself (its `external_url`), when that is not the provider's `url`.
    pub external_url: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            authorize: Authorize::default(),
            cache: Duration::from_secs(60),
            cache_refusals: Duration::from_secs(10),
            recheck: Duration::from_secs(60),
            stale: Duration::ZERO,
            asks_per_second: NonZeroU32::new(50).expect("50 is not 0"),
            external_url: None,
        }
    }
}

impl Config {
    /// What is wrong with it.
    pub(in crate::authn) fn check(&self) -> Result<(), String> {
        let least = Duration::from_secs(1);
        if !self.recheck.is_zero() && self.recheck < least {
            return Err("recheck must be 1s at least, or 0s for never".to_owned());
        }
        match &self.external_url {
            Some(url) if !url.starts_with("https://") && !url.starts_with("http://") => Err(
                format!("external_url is {url:?}: it must begin with `https://` or `http://`"),
            ),
            _ => Ok(()),
        }
    }
}
