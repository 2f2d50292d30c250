//! The composition root: every part built in order, each handed what it needs; then run, and drained.

pub mod follow;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Context;
use ci_tunnel::protocol;
use ci_tunnel::runtime::drain;
use ci_tunnel::runtime::ops::{self, Ops};
use ci_tunnel::runtime::ready::Readiness;
use ci_tunnel::runtime::telemetry::LogLevel;
use ci_tunnel::transport::endpoint;
use ci_tunnel::transport::tls::ServerIdentity;
use prometheus_client::registry::Registry as MetricsRegistry;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::agents::Registry;
use crate::audit::{Audit, Writer};
use crate::authn::Authenticator;
use crate::config::Config;
use crate::kubeconfig::Cluster;
use crate::listener::Listener;
use crate::metrics::Metrics;
use crate::proxy::front::{self, Security};
use crate::proxy::limits::Limits;
use crate::proxy::live::Live;
use crate::proxy::{self, Proxy, kubeconfig};
use crate::routing::{self, Router};
use crate::status::Status;
use crate::store::Store;

/// A server whose sockets are bound and that has not yet answered anybody.
#[derive(Debug)]
pub struct App {
    pub addresses: Addresses,
    config: Config,
    proxy: Arc<Proxy>,
    listener: Arc<Listener>,
    follow: follow::Follow,
    front: (TcpListener, Security),
    agents: quinn::Endpoint,
    ops: (std::net::TcpListener, Ops, Status),
    audit: Audit,
    audit_writer: Writer,
    identity: Arc<ServerIdentity>,
    trigger: drain::Trigger,
    watcher: drain::Watcher,
}

/// Where the server listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub kubernetes_api: SocketAddr,
    pub agents: SocketAddr,
    pub ops: SocketAddr,
}

impl App {
    /// Builds every part and binds every socket.
    ///
    /// # Errors
    /// A file, a socket or the store is not as it must be.
    pub async fn build(config: Config, level: LogLevel) -> anyhow::Result<Self> {
        let mut metrics_registry = MetricsRegistry::default();
        let metrics = Metrics::new(&mut metrics_registry);
        let store = Store::open(&config.state_dir).await?;
        let identity = identity(&config)?;
        let (audit, audit_writer) =
            Audit::start(&config.audit, &config.state_dir, metrics.clone())?;
        let (rules, repositories) = crate::configrepo::watch(&config.config_repositories).await?;
        let (directory, follow_agents) = follow::agents(&store).await?;
        let authenticator =
            Arc::new(Authenticator::new(config.authn.clone(), store.clone()).await?);
        let registry = Registry::new(metrics.clone());
        let (trigger, watcher) = drain::channel();
        let readiness = Readiness::new();

        let front = front(&config, &identity).await?;
        let agents = agents_endpoint(&config, &identity, &store).await?;
        let ops = ops::bind(config.ops.listen).context("ops.listen")?;
        let addresses = Addresses {
            kubernetes_api: front.0.local_addr()?,
            agents: agents.local_addr()?,
            ops: ops.local_addr()?,
        };

        let timeouts = &config.timeouts;
        let routing = routing::Config {
            hold: timeouts.hold,
            open: timeouts.open_stream,
        };
        let live = Live::new(metrics.clone());
        let proxy = Arc::new(Proxy {
            config: proxy::Config {
                url_path_prefix: config.kubernetes_api.url_path_prefix.clone(),
                response_head_timeout: timeouts.response_head,
            },
            authenticator: Arc::clone(&authenticator),
            directory: directory.clone(),
            rules: rules.clone(),
            router: Router::new(routing, registry.clone(), metrics.clone()),
            limits: Limits::new(&config.limits),
            live,
            audit: audit.clone(),
            metrics: metrics.clone(),
            kubeconfig: Arc::new(Described::new(
                &config,
                addresses.kubernetes_api.port(),
                &identity,
            )),
            drain: watcher.clone(),
        });
        let listener = Arc::new(Listener {
            limits: crate::listener::Limits {
                sessions: config.agents.max_sessions,
            },
            store: store.clone(),
            registry: registry.clone(),
            rules: rules.clone(),
            metrics: metrics.clone(),
            drain: watcher.clone(),
            drain_grace: timeouts.drain,
            sessions: AtomicU64::new(1),
        });
        let follow = follow::Follow {
            agents: follow_agents,
            store,
            rules: rules.clone(),
            authenticator,
            registry: registry.clone(),
            proxy: Arc::downgrade(&proxy),
            metrics,
            audit: audit.clone(),
            audit_condition: readiness.condition("audit log"),
            _repositories: repositories,
        };
        let status = Status {
            directory,
            registry,
            rules,
        };
        let ops_state = Ops {
            registry: Arc::new(metrics_registry),
            readiness,
            level,
            drain: watcher.notice(),
        };
        Ok(Self {
            addresses,
            config,
            proxy,
            listener,
            follow,
            front,
            agents,
            ops: (ops, ops_state, status),
            audit,
            audit_writer,
            identity,
            trigger,
            watcher,
        })
    }

    /// What agents pin: the hash that the join command prints.
    pub fn pin(&self) -> String {
        self.identity.pin().to_string()
    }

    /// The CA that was made here and clients must be given, as PEM.
    pub fn ca_pem(&self) -> Option<&str> {
        self.identity.ca_pem()
    }

    /// Serves until `shutdown` resolves, then drains; `force` ends the drain at once.
    ///
    /// # Errors
    /// The ops port can not be served.
    pub async fn run(
        self,
        shutdown: impl Future<Output = ()>,
        force: impl Future<Output = ()>,
        reload: tokio::sync::mpsc::Receiver<()>,
    ) -> anyhow::Result<()> {
        let (listener, state, status) = self.ops;
        let _ops = ops::serve(listener, state, status.routes())?;
        let mut parts = JoinSet::new();
        let bounds = front::Limits {
            connections: self.config.kubernetes_api.max_connections,
            head_timeout: self.config.timeouts.request_head,
        };
        let (tcp, security) = self.front;
        let live = self.proxy.live.clone();
        parts.spawn(front::serve(
            tcp,
            security,
            bounds,
            self.proxy,
            self.watcher.clone(),
        ));
        parts.spawn(self.listener.serve(self.agents));
        let mut background = JoinSet::new();
        self.follow.spawn(&mut background);
        background.spawn(Arc::clone(&self.identity).watch());
        background.spawn(follow::reloads(self.identity, self.audit, reload));
        let forced = self.watcher.notice();
        background.spawn(async move {
            forced.forced().await;
            live.cut_all();
        });
        tracing::info!(
            kubernetes_api = %self.addresses.kubernetes_api,
            agents = %self.addresses.agents,
            ops = %self.addresses.ops,
            "serving"
        );

        shutdown.await;
        drop(self.watcher);
        tracing::info!(grace = self.config.timeouts.drain.as_secs(), "draining");
        let outcome = tokio::select! {
            outcome = self.trigger.drain(self.config.timeouts.drain) => outcome,
            () = async { force.await; self.trigger.force(); std::future::pending().await } => drain::Outcome::Forced,
        };
        tracing::info!(?outcome, "drained");
        let _ = tokio::time::timeout(LAST_WORDS, async {
            while parts.join_next().await.is_some() {}
        })
        .await;
        background.shutdown().await;
        tokio::task::spawn_blocking(|| self.audit_writer.finish())
            .await
            .context("the audit log")?;
        Ok(())
    }
}

/// For close frames to leave after the drain.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The server's certificate: of files, or made in the state directory.
///
/// # Errors
/// A file is not as it must be.
pub fn identity(config: &Config) -> anyhow::Result<Arc<ServerIdentity>> {
    let identity = match &config.kubernetes_api.tls {
        Some(files) => ServerIdentity::from_files(files.clone()),
        None => ServerIdentity::made_in(&config.state_dir, &config.certificate_names()),
    };
    Ok(Arc::new(identity?))
}

async fn front(
    config: &Config,
    identity: &ServerIdentity,
) -> anyhow::Result<(TcpListener, Security)> {
    let api = &config.kubernetes_api;
    let tcp = TcpListener::bind(api.listen)
        .await
        .with_context(|| format!("kubernetes_api.listen: TCP {}", api.listen))?;
    if api.cleartext.is_some() {
        tracing::warn!(
            "the Kubernetes API is served without TLS: everyone on the network can steal tokens"
        );
        return Ok((tcp, Security::Cleartext));
    }
    let tls = identity.server_config(&[b"h2".as_slice(), b"http/1.1"])?;
    Ok((tcp, Security::Tls(TlsAcceptor::from(tls))))
}

async fn agents_endpoint(
    config: &Config,
    identity: &ServerIdentity,
    store: &Store,
) -> anyhow::Result<quinn::Endpoint> {
    let keys = endpoint::Keys {
        stateless_reset: *store.secret("quic stateless reset").await?.expose(),
        address_token: *store.secret("quic address token").await?.expose(),
    };
    let tls = identity.quic_config(&[protocol::ALPN])?;
    endpoint::server(config.agents.listen, &config.quic, tls, &keys).context("agents.listen")
}

/// What KUBECONFIGs say of this server.
#[derive(Debug)]
struct Described {
    url: String,
    identity: Arc<ServerIdentity>,
}

impl Described {
    fn new(config: &Config, port: u16, identity: &Arc<ServerIdentity>) -> Self {
        Self {
            url: config.public_url(port),
            identity: Arc::clone(identity),
        }
    }
}

impl kubeconfig::Describe for Described {
    fn cluster(&self) -> Cluster {
        Cluster {
            server: self.url.clone(),
            ca_pem: self.identity.ca_pem().map(str::to_owned),
        }
    }
}
