//! `oidc` of a provider in the server's file: what its ID tokens must be like.

use std::time::Duration;

use ci_tunnel::config::value::duration;
use jsonwebtoken::Algorithm as Jws;
use serde::{Deserialize, Serialize};

use super::claims::Mapping;
use crate::authn::provider::Kind;

/// ID tokens of one provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `iss` of its tokens, to the letter. Default: the provider's `url`.
    #[serde(default)]
    pub issuer: Option<String>,
    /// One of these must be among the token's audiences.
    pub audiences: Vec<String>,
    /// Signatures of these kinds are accepted. Default: RS256, which both GitLab and GitHub use.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<Algorithm>,
    /// By how much the clocks may differ. Default: 30s; 5m at most.
    #[serde(default = "default_clock_skew", with = "duration")]
    pub clock_skew: Duration,
    /// Tokens of pipelines that run in one project for a fork of it. Default: deny. Only for `gitlab`.
    #[serde(default)]
    pub forks: Forks,
    /// Which claim says what. Only for `generic`.
    #[serde(default)]
    pub claims: Option<Mapping>,
    /// Hosts besides the issuer's own where its keys may be published. Default: none.
    #[serde(default)]
    pub key_hosts: Vec<String>,
    /// Keys are fetched again so often. Default: 1h.
    #[serde(default = "default_refresh", with = "duration")]
    pub refresh: Duration,
    /// Because of unknown keys they are fetched again at most so often. Default: 1m.
    #[serde(default = "default_min_refresh", with = "duration")]
    pub min_refresh: Duration,
}

/// Signatures by private keys. Those by shared secrets, and no signature at all, can not even be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    ES256,
    ES384,
    EdDSA,
    PS256,
    PS384,
    PS512,
    RS256,
    RS384,
    RS512,
}

/// What to do with tokens of pipelines for forks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forks {
    Allow,
    #[default]
    Deny,
}

const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);
const MIN_REFRESH: Duration = Duration::from_secs(1);
const MAX_REFRESH: Duration = Duration::from_secs(24 * 3600);

impl Config {
    /// The issuer of a provider at `url`.
    pub(in crate::authn) fn issuer<'a>(&'a self, url: &'a str) -> &'a str {
        self.issuer.as_deref().unwrap_or(url)
    }

    /// What is wrong, if anything; begins with the name of the setting.
    pub(in crate::authn) fn check(&self, kind: Kind, url: &str) -> Result<(), String> {
        let issuer = self.issuer(url);
        if !is_plain_https(issuer) {
            return Err(format!(
                "oidc.issuer is {issuer:?}: it must be `https://host…`, without a query, a fragment or a user"
            ));
        }
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            return Err(
                "oidc.audiences: name one at least, and none empty: without it, every token that the issuer gives \
                 anybody would be good here"
                    .to_owned(),
            );
        }
        if self.algorithms.is_empty() {
            return Err("oidc.algorithms: name one at least".to_owned());
        }
        if self.forks == Forks::Allow && kind != Kind::Gitlab {
            return Err("oidc.forks is only for type gitlab".to_owned());
        }
        self.check_times()?;
        match (&self.claims, kind) {
            (None, Kind::Generic) => Err(
                "oidc.claims is missing: say which claim gives the project_path at least"
                    .to_owned(),
            ),
            (Some(mapping), Kind::Generic) => mapping.check(),
            (Some(_), _) => Err(
                "oidc.claims is only for type generic: the claims of the others are known"
                    .to_owned(),
            ),
            (None, _) => Ok(()),
        }
    }

    fn check_times(&self) -> Result<(), String> {
        if self.clock_skew > MAX_CLOCK_SKEW {
            return Err(format!(
                "oidc.clock_skew is {}: {} is the most",
                duration::format(self.clock_skew),
                duration::format(MAX_CLOCK_SKEW)
            ));
        }
        if self.min_refresh < MIN_REFRESH
            || self.refresh < self.min_refresh
            || self.refresh > MAX_REFRESH
        {
            return Err(
                "oidc.min_refresh must be 1s at least, and oidc.refresh between that and 24h"
                    .to_owned(),
            );
        }
        Ok(())
    }

    pub(super) fn allows(&self, algorithm: Jws) -> bool {
        self.algorithms
            .iter()
            .any(|allowed| allowed.jws() == algorithm)
    }
}

impl Algorithm {
    pub(super) fn jws(self) -> Jws {
        match self {
            Self::ES256 => Jws::ES256,
            Self::ES384 => Jws::ES384,
            Self::EdDSA => Jws::EdDSA,
            Self::PS256 => Jws::PS256,
            Self::PS384 => Jws::PS384,
            Self::PS512 => Jws::PS512,
            Self::RS256 => Jws::RS256,
            Self::RS384 => Jws::RS384,
            Self::RS512 => Jws::RS512,
        }
    }
}

fn is_plain_https(url: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|parsed| {
        parsed.scheme() == "https"
            && parsed.has_host()
            && parsed.username().is_empty()
            && parsed.password().is_none()
            && parsed.query().is_none()
            && parsed.fragment().is_none()
    })
}

fn default_algorithms() -> Vec<Algorithm> {
    vec![Algorithm::RS256]
}

fn default_clock_skew() -> Duration {
    Duration::from_secs(30)
}

fn default_refresh() -> Duration {
    Duration::from_secs(3600)
}

fn default_min_refresh() -> Duration {
    Duration::from_secs(60)
}
