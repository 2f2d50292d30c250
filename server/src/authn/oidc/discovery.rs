//! Where an issuer publishes its keys, and the keys: two requests, each bounded.

use std::time::SystemTime;

use reqwest::Url;
use serde::Deserialize;

use super::Config;
use super::keys::{self, KeySet};
use super::refresh::Source;
use crate::authn::http::{self, Client};

/// An issuer on the web.
#[derive(Debug)]
pub(super) struct Web {
    pub(super) client: Client,
    pub(super) issuer: String,
    pub(super) config: Config,
}

/// What an issuer publishes.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) keys: KeySet,
    /// Its clock.
    pub(super) date: Option<SystemTime>,
}

/// Why there are no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Http(http::Error),
    #[error("{url}: {source}")]
    Keys { url: String, source: keys::Error },
    #[error(
        "{url}: says that it is of the issuer {found:?}, not {expected:?}: set oidc.issuer to what it says, if it is right"
    )]
    OtherIssuer {
        url: String,
        found: String,
        expected: String,
    },
    #[error(
        "{url}: says that its keys are at {keys:?}, which is not an https address of the issuer's own host: allow its host in oidc.key_hosts, if it is right"
    )]
    OtherHost { url: String, keys: String },
}

/// `/.well-known/openid-configuration`, as far as it counts.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

impl Source for Web {
    async fn fetch(&self) -> Result<Found, Error> {
        let base = self.issuer.trim_end_matches('/');
        let url = format!("{base}/.well-known/openid-configuration");
        let document = self.client.get::<Document>(&url, None).await?.value;
        if document.issuer != self.issuer {
            return Err(Error::OtherIssuer {
                url,
                found: document.issuer,
                expected: self.issuer.clone(),
            });
        }
        if !self.may_hold_keys(&document.jwks_uri) {
            return Err(Error::OtherHost {
                url,
                keys: document.jwks_uri,
            });
        }
        let answer = self
            .client
            .get::<keys::Document>(&document.jwks_uri, None)
            .await?;
        let keys = KeySet::read(&answer.value, &self.config).map_err(|source| Error::Keys {
            url: document.jwks_uri,
            source,
        })?;
        Ok(Found {
            keys,
            date: answer.date,
        })
    }
}

impl Web {
    /// Else whoever can change one file at the issuer could have tokens verified by keys from anywhere.
    fn may_hold_keys(&self, address: &str) -> bool {
        let host = |text: &str| {
            let url = Url::parse(text).ok()?;
            let plain = url.username().is_empty() && url.password().is_none();
            (url.scheme() == "https" && plain).then(|| url.host_str().map(str::to_owned))?
        };
        let Some(found) = host(address) else {
            return false;
        };
        host(&self.issuer).is_some_and(|own| own == found) || self.config.key_hosts.contains(&found)
    }
}

impl From<http::Error> for Error {
    fn from(error: http::Error) -> Self {
        Self::Http(error)
    }
}
