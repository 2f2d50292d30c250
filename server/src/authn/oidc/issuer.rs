//! One issuer: verifies its tokens, and fetches its keys for that.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use jsonwebtoken::Algorithm;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::claims::{self, Identify};
use super::discovery::Web;
use super::header::Header;
use super::keys::{Key, KeyId, KeySet, NoKey};
use super::refresh::{Keys, Missing, Pace};
use super::{Config, Error, standard};
use crate::authn::jwt::Parts;
use crate::authn::{TokenId, http, provider};
use crate::identity::JobIdentity;
use crate::metrics::Metrics;

/// An issuer whose word is taken.
#[derive(Debug)]
pub(super) struct Issuer {
    url: String,
    provider: provider::Config,
    config: Config,
    identify: Identify,
    keys: Arc<Keys>,
    task: OnceLock<AbortOnDropHandle<()>>,
}

/// A token that is good, and what it says.
#[derive(Debug)]
pub(in crate::authn) struct Verified {
    pub(in crate::authn) identity: JobIdentity,
    pub(in crate::authn) token: TokenId,
    pub(in crate::authn) key: SigningKey,
    pub(in crate::authn) good_until: SystemTime,
}

/// The key that a token was signed with.
#[derive(Debug, Clone)]
pub(in crate::authn) struct SigningKey {
    keys: Arc<Keys>,
    id: KeyId,
}

impl Issuer {
    /// `None`: the provider has no ID tokens.
    pub(super) fn new(provider: &provider::Config, withdrawn: watch::Sender<u64>) -> Option<Self> {
        let config = provider.oidc.clone()?;
        let pace = Pace {
            refresh: config.refresh,
            min_refresh: config.min_refresh,
        };
        let keys = Keys::new(&provider.name, pace, withdrawn);
        Some(Self {
            url: config.issuer(provider.url()).to_owned(),
            identify: Identify::new(provider, &config),
            provider: provider.clone(),
            config,
            keys: Arc::new(keys),
            task: OnceLock::new(),
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn provider(&self) -> &str {
        &self.provider.name
    }

    /// Begins to fetch keys, if it has not begun.
    pub(super) fn start(&self, metrics: &Metrics) -> Result<(), http::BuildError> {
        if self.task.get().is_none() {
            let web = self.web()?;
            let follow = Arc::clone(&self.keys).follow(web, metrics.clone());
            self.task
                .get_or_init(|| AbortOnDropHandle::new(tokio::spawn(follow)));
        }
        Ok(())
    }

    fn web(&self) -> Result<Web, http::BuildError> {
        Ok(Web {
            client: self.provider.http()?,
            issuer: self.url.clone(),
            config: self.config.clone(),
        })
    }

    pub(super) async fn verify(
        &self,
        parts: &Parts<'_>,
        header: &Header,
        now: SystemTime,
    ) -> Result<Verified, Error> {
        let key = self.verify_signature(parts, header).await?;
        standard::check_audience(&parts.claims, &self.config, self.provider())?;
        let times = standard::check_times(&parts.claims, self.config.clock_skew, now)?;
        let (good_until, ends) = times;
        let identity = self.identify.job(&claims::Claims(&parts.claims))?;
        Ok(Verified {
            identity: JobIdentity {
                expires_at: Some(ends),
                ..identity
            },
            token: standard::token_id(&parts.claims, parts.message),
            key: SigningKey {
                keys: Arc::clone(&self.keys),
                id: key,
            },
            good_until,
        })
    }

    async fn verify_signature(&self, parts: &Parts<'_>, header: &Header) -> Result<KeyId, Error> {
        let allowed = |algorithm: &Algorithm| self.config.allows(*algorithm);
        let algorithm = header
            .algorithm
            .filter(allowed)
            .ok_or_else(|| self.other_algorithm())?;
        let kid = header.kid.as_deref();
        let keys = self.keys_naming(kid).await?;
        let candidates = keys
            .candidates(kid, algorithm)
            .map_err(|no_key| self.no_key(no_key))?;
        let signed = |key: &&&Key| key.verifies(parts.message, parts.signature, algorithm);
        let signer = candidates.iter().find(signed);
        signer.map(|key| key.id).ok_or_else(|| Error::Signature {
            provider: self.provider().to_owned(),
        })
    }

    async fn keys_naming(&self, kid: Option<&str>) -> Result<Arc<KeySet>, Error> {
        let provider = || self.provider().to_owned();
        if let Err(error) = self.start(&Metrics::unread()) {
            tracing::error!(provider = provider(), %error, "keys can not be fetched");
            return Err(Error::KeysUnavailable {
                provider: provider(),
                retry_after: super::Duration::from_secs(60),
            });
        }
        self.keys
            .naming(kid)
            .await
            .map_err(|missing| match missing {
                Missing::Unknown => Error::UnknownKey {
                    provider: provider(),
                },
                Missing::Unavailable { retry_after } => Error::KeysUnavailable {
                    provider: provider(),
                    retry_after,
                },
            })
    }

    fn no_key(&self, no_key: NoKey) -> Error {
        let provider = self.provider().to_owned();
        match no_key {
            NoKey::NotNamed => Error::KeyNotNamed { provider },
            NoKey::NotThere => Error::UnknownKey { provider },
        }
    }

    fn other_algorithm(&self) -> Error {
        let names: Vec<_> = self
            .config
            .algorithms
            .iter()
            .map(|allowed| format!("{allowed:?}"))
            .collect();
        Error::Algorithm {
            provider: self.provider().to_owned(),
            allowed: names.join(", "),
        }
    }

    /// With these keys, which nobody fetched.
    #[cfg(test)]
    pub(super) fn with_source(&self, source: impl super::refresh::Source) {
        let keys = Arc::clone(&self.keys);
        let task = AbortOnDropHandle::new(tokio::spawn(keys.follow(source, Metrics::unread())));
        self.task.set(task).expect("it has not begun");
    }
}

impl SigningKey {
    /// Whether the issuer publishes it still.
    pub(in crate::authn) fn is_published(&self) -> bool {
        self.keys.publishes(self.id)
    }

    /// By what all tokens of the key can be revoked.
    pub(in crate::authn) fn token(&self) -> TokenId {
        self.id.token()
    }
}
