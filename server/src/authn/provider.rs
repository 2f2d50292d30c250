//! CI systems whose word is taken: `authn.providers`, each a realm of project paths of its own.

use std::collections::HashSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{http, job_token, oidc};
use crate::access::is_identity_prefix;
pub use crate::identity::LOCAL;

/// `authn.providers` in the server's file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Config>", into = "Vec<Config>")]
pub struct Providers(Vec<Config>);

/// One CI system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What audit lines, rules (`provider:`) and messages call it: a DNS label.
    pub name: String,
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Where it is: `https://host`. The default is the public service's for `github`; the others need one.
    pub url: Option<String>,
    /// Begins the names of its jobs in Kubernetes. Default: `gitlab`, `github`, or the name of a generic provider.
    pub identity_prefix: Option<String>,
    /// Certificate authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Accepts the job tokens of a GitLab. One provider at most can: a job token does not say whose it is, and must be
    /// shown to no other GitLab.
    pub job_tokens: Option<job_token::Config>,
    /// An HTTP proxy on the way there. Default: as `HTTPS_PROXY` and `NO_PROXY` say.
    pub proxy: Option<String>,
    /// ID tokens. Default: none are accepted.
    pub oidc: Option<oidc::Config>,
}

/// The kinds of CI systems: what their tokens say, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Gitlab,
    Github,
    Generic,
}

/// The issuer of GitHub's public service.
const GITHUB: &str = "https://token.actions.githubusercontent.com";

impl Providers {
    pub fn iter(&self) -> impl Iterator<Item = &Config> {
        self.0.iter()
    }

    /// The provider that paths belong to where a file does not say: the only one.
    pub fn only(&self) -> Option<&Config> {
        match self.0.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<&Config> {
        self.iter().find(|provider| provider.name == name)
    }
}

impl Config {
    /// Where the provider is, without a slash at the end.
    pub fn url(&self) -> &str {
        self.url.as_deref().unwrap_or(GITHUB).trim_end_matches('/')
    }

    pub fn identity_prefix(&self) -> &str {
        self.identity_prefix
            .as_deref()
            .unwrap_or_else(|| match self.kind {
                Kind::Gitlab => "gitlab",
                Kind::Github => "github",
                Kind::Generic => &self.name,
            })
    }

    /// How it is reached.
    pub(super) fn http(&self) -> Result<http::Client, http::BuildError> {
        http::Client::new(self.ca_file.as_deref(), self.proxy.as_deref())
    }

    fn check(&self) -> Result<(), String> {
        let Self { name, .. } = self;
        let label = |text: &str| text.parse::<crate::identity::AgentName>().is_ok();
        if !label(name) || name == LOCAL {
            return Err(format!(
                "authn.providers: name {name:?}: it must be of lower-case letters, digits and inner hyphens, and not `{LOCAL}`"
            ));
        }
        if !is_identity_prefix(self.identity_prefix()) {
            let prefix = self.identity_prefix();
            return Err(format!(
                "authn.providers: {name}: identity_prefix {prefix:?}: it must be of lower-case letters, digits and inner \
                 hyphens, and neither `system`, which is Kubernetes' own, nor `ci-tunnel`, which is this server's"
            ));
        }
        if let Some(job_tokens) = &self.job_tokens {
            if self.kind != Kind::Gitlab {
                return Err(format!(
                    "authn.providers: {name}: job_tokens: only a provider of type gitlab has them"
                ));
            }
            job_tokens
                .check()
                .map_err(|error| format!("authn.providers: {name}: job_tokens.{error}"))?;
        }
        match &self.url {
            None if self.kind != Kind::Github => {
                Err(format!("authn.providers: {name}: url is missing"))
            }
            Some(url) if !url.starts_with("https://") => Err(format!(
                "authn.providers: {name}: url is {url:?}: it must begin with `https://`, since who can change the \
                 answers could sign tokens"
            )),
            _ => self.check_ways(),
        }
    }

    /// How it is reached, and what it vouches by.
    fn check_ways(&self) -> Result<(), String> {
        let Self { name, .. } = self;
        if let Some(proxy) = &self.proxy
            && !is_proxy(proxy)
        {
            return Err(format!(
                "authn.providers: {name}: proxy must be `http://host:port` or `https://host:port`; a user and password \
                 for it belong into the environment, as HTTPS_PROXY"
            ));
        }
        let oidc = self.oidc.as_ref();
        oidc.map_or(Ok(()), |oidc| oidc.check(self.kind, self.url()))
            .map_err(|problem| format!("authn.providers: {name}: {problem}"))
    }

    /// `iss` of its ID tokens, where it has any.
    pub fn issuer(&self) -> Option<&str> {
        let oidc = self.oidc.as_ref();
        oidc.map(|oidc| oidc.issuer(self.url()))
    }
}

/// Without a password: the file's values stand in messages.
fn is_proxy(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
    })
}

impl TryFrom<Vec<Config>> for Providers {
    type Error = String;

    fn try_from(providers: Vec<Config>) -> Result<Self, String> {
        let (mut names, mut prefixes) = (HashSet::new(), HashSet::new());
        let mut issuers = HashSet::new();
        let with_job_tokens = providers
            .iter()
            .filter(|provider| provider.job_tokens.is_some());
        if let [one, other, ..] = with_job_tokens.collect::<Vec<_>>().as_slice() {
            let (one, other) = (&one.name, &other.name);
            return Err(format!(
                "authn.providers: {one} and {other} both have job_tokens: a job token does not say of which GitLab it is, \
                 so it would be shown to the wrong one; leave one, and use ID tokens for the other"
            ));
        }
        for provider in &providers {
            provider.check()?;
            let Config { name, .. } = provider;
            if !names.insert(name.clone()) {
                return Err(format!("authn.providers: two are named {name:?}"));
            }
            let prefix = provider.identity_prefix();
            if !prefixes.insert(prefix.to_owned()) {
                return Err(format!(
                    "authn.providers: {name}: another has identity_prefix {prefix:?} too, so that a job of one could \
                     pass for a job of the other in Kubernetes: set another"
                ));
            }
            if let Some(issuer) = provider.issuer()
                && !issuers.insert(issuer.to_owned())
            {
                return Err(format!(
                    "authn.providers: {name}: another has the issuer {issuer:?} too, so that nothing says whose job a \
                     token of it is: name it once, with all audiences"
                ));
            }
        }
        Ok(Self(providers))
    }
}

impl From<Providers> for Vec<Config> {
    fn from(providers: Providers) -> Self {
        providers.0
    }
}
