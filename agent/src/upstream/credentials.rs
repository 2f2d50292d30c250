//! What the agent knows of its one API server: where it is, whom to trust there, as whom to speak. Kept fresh.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use http::HeaderValue;
use rustls::ClientConfig;
use tracing::{info, warn};

use super::endpoint::Endpoint;
use super::files::Files;
use super::{incluster, kubeconfig};

/// How often files are looked at, at most.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How often a refused credential makes the agent load everything again, plugins included, at most.
const FORCE_EVERY: Duration = Duration::from_secs(10);
/// How often refused credentials are worth a line in the log.
const WARN_EVERY: Duration = Duration::from_secs(10);
/// What a credential plugin may take.
const PLUGIN_DEADLINE: Duration = Duration::from_secs(30);

/// Where credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    InCluster(incluster::ServiceAccount),
    Kubeconfig(kubeconfig::Selection),
}

/// Why there are no credentials. The messages name the file and the field, never a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{field} ({}): {source}", file.display())]
    Read {
        field: &'static str,
        file: PathBuf,
        source: std::io::Error,
    },
    #[error("{field} ({}): {reason}", file.display())]
    Unusable {
        field: &'static str,
        file: PathBuf,
        reason: String,
    },
    #[error("{variable} is not set: outside a cluster, write upstream.kubeconfig")]
    NotInCluster { variable: &'static str },
    #[error("{variable}: {reason}")]
    Address {
        variable: &'static str,
        reason: String,
    },
    #[error("credential plugin of {}: {reason}", file.display())]
    Plugin { file: PathBuf, reason: String },
}

/// Trust and client certificate for new connections. A connection made with another one is not used again.
#[derive(Debug)]
pub struct Tls {
    /// What `config` was made of, to see whether it changed; `None` when that can not be told.
    pub inputs: Option<Vec<u8>>,
    pub config: Arc<ClientConfig>,
}

/// What the agent sends as `Authorization`, if anything. `Debug` shows no token: the header is marked as sensitive.
#[derive(Debug, Clone)]
pub enum Authorization {
    None,
    Header(HeaderValue),
    Plugin(kubeconfig::Plugin),
}

/// Everything, as last loaded.
#[derive(Debug)]
pub struct Loaded {
    pub endpoint: Endpoint,
    pub tls: Option<Arc<Tls>>,
    pub authorization: Authorization,
}

/// Credentials that follow their files.
pub struct Credentials {
    source: Source,
    state: Mutex<State>,
    reload: tokio::sync::Mutex<()>,
}

struct State {
    loaded: Arc<Loaded>,
    files: Files,
    checked: Instant,
    forced: Option<Instant>,
    warned: Option<Instant>,
}

impl Credentials {
    /// Loads from `source`, which names its API server once and for all.
    pub async fn load(source: Source) -> Result<Self, Error> {
        let files = source.files();
        let loaded = source.load(None).await?;
        let state = State {
            loaded: Arc::new(loaded),
            files,
            checked: Instant::now(),
            forced: None,
            warned: None,
        };
        Ok(Self {
            source,
            state: Mutex::new(state),
            reload: tokio::sync::Mutex::new(()),
        })
    }

    /// What is in force now; looks at the files when that was not done for a second.
    pub async fn current(&self) -> Arc<Loaded> {
        let due = {
            let mut state = self.state();
            let due = state.checked.elapsed() >= CHECK_EVERY;
            if due {
                state.checked = Instant::now();
            }
            due && state.files.changed()
        };
        if due {
            Box::pin(self.reload()).await;
        }
        Arc::clone(&self.state().loaded)
    }

    /// The API server did not accept them: looks at once. Returns whether there are others now.
    pub async fn rejected(&self, used: &Arc<Loaded>) -> bool {
        let due = {
            let mut state = self.state();
            if state.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
                state.warned = Some(Instant::now());
                warn!(endpoint = %used.endpoint, "the API server does not accept the agent's credentials (401)");
            }
            let plugin = matches!(self.source, Source::Kubeconfig(_));
            let force = plugin && state.forced.is_none_or(|at| at.elapsed() >= FORCE_EVERY);
            if force {
                state.forced = Some(Instant::now());
            }
            state.checked = Instant::now();
            force || state.files.changed()
        };
        if due {
            self.reload().await;
        }
        !Arc::ptr_eq(used, &self.state().loaded)
    }

    /// Where the API server is.
    pub fn endpoint(&self) -> Endpoint {
        self.state().loaded.endpoint.clone()
    }

    /// The `Authorization` header for one request.
    pub async fn authorization(&self, loaded: &Loaded) -> Result<Option<HeaderValue>, Error> {
        match &loaded.authorization {
            Authorization::None => Ok(None),
            Authorization::Header(value) => Ok(Some(value.clone())),
            Authorization::Plugin(plugin) => {
                let header = Box::pin(tokio::time::timeout(PLUGIN_DEADLINE, plugin.header()));
                header
                    .await
                    .unwrap_or_else(|_| Err(plugin.timed_out(PLUGIN_DEADLINE)))
                    .map(Some)
            }
        }
    }

    /// As if a second had passed.
    #[cfg(test)]
    pub(super) fn look_again(&self) {
        let mut state = self.state();
        state.checked = state
            .checked
            .checked_sub(CHECK_EVERY)
            .expect("the machine is up for a second");
    }

    /// Loads again. What was in force stays so when that fails: a file may be half written.
    async fn reload(&self) {
        let _one_at_a_time = self.reload.lock().await;
        let files = self.source.files();
        let previous = Arc::clone(&self.state().loaded);
        let outcome = self.source.load(Some(&previous)).await;
        let mut state = self.state();
        state.files = files;
        match outcome {
            Ok(loaded) if loaded.endpoint != previous.endpoint => warn!(
                configured = %loaded.endpoint,
                "the kubeconfig names another API server now: restart the agent to use it"
            ),
            Ok(loaded) => {
                info!("the credentials for the API server were loaded again");
                state.loaded = Arc::new(loaded);
            }
            Err(error) => {
                warn!(%error, "the credentials for the API server can not be loaded again, the old ones stay")
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code panics while it holds this lock")
    }
}

impl Source {
    async fn load(&self, previous: Option<&Loaded>) -> Result<Loaded, Error> {
        let mut loaded = match self {
            Self::InCluster(account) => account.load()?,
            Self::Kubeconfig(selection) => selection.clone().load().await?,
        };
        let before = previous.and_then(|previous| previous.tls.as_ref());
        if let (Some(new), Some(old)) = (&loaded.tls, before)
            && new.inputs.is_some()
            && new.inputs == old.inputs
        {
            // The same trust keeps its identity, so that pooled connections stay in use when only the token changed.
            loaded.tls = Some(Arc::clone(old));
        }
        Ok(loaded)
    }

    fn files(&self) -> Files {
        Files::stamped(match self {
            Self::InCluster(account) => account.files(),
            Self::Kubeconfig(selection) => selection.files(),
        })
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}
