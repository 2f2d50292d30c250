//! What several parts share, and the sockets; each part is handed what it needs of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Context;
use ci_tunnel::runtime::sparing::Sparing;
use ci_tunnel::runtime::{drain, ops};
use ci_tunnel::transport::credit::Budget;
use ci_tunnel::transport::endpoint;
use ci_tunnel::transport::tls::ServerIdentity;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::Addresses;
use super::follow::{Followed, Reloaded};
use crate::agents::Registry;
use crate::agents::directory::Directory;
use crate::audit::Audit;
use crate::authn::Authenticator;
use crate::config::Config;
use crate::configrepo::Snapshot;
use crate::configrepo::webhook::Webhooks;
use crate::kubeconfig::Cluster;
use crate::listener::door::Door;
use crate::listener::{self, Listener};
use crate::metrics::Metrics;
use crate::proxy::front::Security;
use crate::proxy::limits::Limits;
use crate::proxy::live::Live;
use crate::proxy::stalled::Stalled;
use crate::proxy::{self, Proxy};
use crate::routing::{self, Router};
use crate::status::Status;
use crate::store::Store;

/// What several parts share.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) metrics: Metrics,
    pub(super) store: Store,
    pub(super) identity: Arc<ServerIdentity>,
    pub(super) audit: Audit,
    pub(super) rules: watch::Receiver<Arc<Snapshot>>,
    pub(super) webhooks: Webhooks,
    pub(super) directory: Directory,
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) registry: Registry,
    pub(super) budget: Arc<Budget>,
}

/// Log lines a period about agents that are not admitted, for each reason.
const STRANGERS: (u32, Duration) = (10, Duration::from_secs(10));

/// Bound, and not yet accepting.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) front: TcpListener,
    pub(super) security: Security,
    pub(super) agents: Door,
    pub(super) ops: std::net::TcpListener,
}

impl Sockets {
    pub(super) async fn bind(
        config: &Config,
        identity: &ServerIdentity,
        store: &Store,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let api = &config.kubernetes_api;
        let front = TcpListener::bind(api.listen)
            .await
            .with_context(|| format!("kubernetes_api.listen: TCP {}", api.listen))?;
        let security = if api.cleartext.is_some() {
            tracing::warn!("no TLS: everyone on the network can steal tokens");
            Security::Cleartext
        } else {
            let tls = identity.server_config(&[b"h2".as_slice(), b"http/1.1"])?;
            Security::Tls(TlsAcceptor::from(tls))
        };
        let keys = endpoint::Keys {
            stateless_reset: *store.secret("quic stateless reset").await?.expose(),
            address_token: *store.secret("quic address token").await?.expose(),
        };
        Ok(Self {
            front,
            security,
            agents: Door::bind(config.agents.listen, &config.quic, identity, &keys, metrics)
                .await
                .context("agents.listen")?,
            ops: ops::bind(config.ops.listen).context("ops.listen")?,
        })
    }

    pub(super) fn addresses(&self) -> std::io::Result<Addresses> {
        Ok(Addresses {
            kubernetes_api: self.front.local_addr()?,
            agents: self.agents.local_addr()?,
            ops: self.ops.local_addr()?,
        })
    }
}

impl Parts {
    pub(super) fn proxy(&self, config: &Config, cluster: Cluster, drain: &drain::Watcher) -> Proxy {
        let routing = routing::Config {
            hold: config.timeouts.hold,
            open: config.timeouts.open_stream,
        };
        Proxy {
            config: proxy::Config {
                url_path_prefix: config.kubernetes_api.url_path_prefix.clone(),
                response_head_timeout: config.timeouts.response_head,
                stalled_upload: config.timeouts.stalled_upload,
            },
            authenticator: Arc::clone(&self.authenticator),
            directory: self.directory.clone(),
            rules: self.rules.clone(),
            webhooks: proxy::webhook::Endpoint::new(self.webhooks.clone()),
            router: Router::new(routing, self.registry.clone(), self.metrics.clone()),
            limits: Limits::new(&config.limits, &self.metrics),
            live: Live::new(self.metrics.clone()),
            audit: self.audit.clone(),
            metrics: self.metrics.clone(),
            cluster,
            drain: drain.clone(),
        }
    }

    pub(super) fn listener(&self, config: &Config, drain: drain::Notice) -> Listener {
        Listener {
            limits: listener::Limits {
                sessions: config.agents.max_sessions,
                probe_every: config.agents.probe_every,
            },
            store: self.store.clone(),
            registry: self.registry.clone(),
            rules: self.rules.clone(),
            metrics: self.metrics.clone(),
            audit: self.audit.clone(),
            quic: config.quic.clone(),
            budget: Arc::clone(&self.budget),
            drain,
            drain_grace: config.timeouts.drain,
            strangers: Sparing::new(STRANGERS.0, STRANGERS.1),
            sessions: AtomicU64::new(1),
        }
    }

    pub(super) fn followed(&self, proxy: &Arc<Proxy>) -> Followed {
        let mut rules = self.rules.clone();
        let judged = Arc::clone(&rules.borrow_and_update());
        Followed {
            store: self.store.clone(),
            judged,
            rules,
            authenticator: Arc::clone(&self.authenticator),
            registry: self.registry.clone(),
            proxy: Arc::downgrade(proxy),
            metrics: self.metrics.clone(),
            audit: self.audit.clone(),
        }
    }

    pub(super) fn reloaded(&self, file: Option<PathBuf>, proxy: &Proxy) -> Reloaded {
        Reloaded {
            identity: Arc::clone(&self.identity),
            audit: self.audit.clone(),
            file,
            limits: proxy.limits.clone(),
        }
    }

    pub(super) fn stalled(&self, config: &Config, live: Live) -> Stalled {
        Stalled {
            live,
            registry: self.registry.clone(),
            budget: Arc::clone(&self.budget),
            patience: config.timeouts.stalled_download,
        }
    }

    pub(super) fn status(&self) -> Status {
        Status {
            directory: self.directory.clone(),
            registry: self.registry.clone(),
            rules: self.rules.clone(),
        }
    }
}
