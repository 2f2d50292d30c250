//! The composition root: every part built in order, each handed what it needs; then run, and drained.

pub mod follow;
mod parts;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ci_tunnel::runtime::drain;
use ci_tunnel::runtime::ops::{self, Ops};
use ci_tunnel::runtime::ready::Readiness;
use ci_tunnel::runtime::tasks;
use ci_tunnel::runtime::telemetry::LogLevel;
use ci_tunnel::transport::credit::Budget;
use ci_tunnel::transport::tls::ServerIdentity;
use jiff::SignedDuration;
use prometheus_client::registry::{Registry as MetricsRegistry, Unit};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::agents::Registry;
use crate::audit::{Audit, Writer};
use crate::authn::Authenticator;
use crate::config::Config;
use crate::configrepo;
use crate::kubeconfig::Cluster;
use crate::metrics::Metrics;
use crate::proxy::live::Live;
use crate::proxy::{front, strangers};
use crate::store::Store;
use follow::Follow;
use parts::{Parts, Sockets};

/// A server whose sockets are bound and that has not yet answered anybody.
#[derive(Debug)]
pub struct App {
    pub addresses: Addresses,
    config: Config,
    /// Where the configuration was read from, to be read again.
    file: Option<PathBuf>,
    parts: Parts,
    follow: Follow,
    sockets: Sockets,
    ops: Ops,
    audit_writer: Writer,
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
    pub async fn build(
        config: Config,
        file: Option<PathBuf>,
        level: LogLevel,
    ) -> anyhow::Result<Self> {
        let mut metrics_registry = MetricsRegistry::default();
        let metrics = Metrics::new(&mut metrics_registry);
        tasks::register(&mut metrics_registry, "ci_tunnel_server");
        let store = Store::open(&config.state_dir).await?;
        let identity = identity(&config)?;
        let (audit, audit_writer) =
            Audit::start(&config.audit, &config.state_dir, metrics.clone())?;
        let (directory, agents) = follow::agents(&store).await?;
        let (rules, repositories) = configrepo::watch(
            &config.config_repositories,
            &repositories_place(&config, &metrics),
            directory.changes(),
        )
        .await?;
        let webhooks = repositories.webhooks();
        let authenticator = Authenticator::new(config.authn.clone(), store.clone()).await?;
        authenticator.start(&metrics)?;
        let sockets = Sockets::bind(&config, &identity, &store, &metrics).await?;
        let budget = budget(&config, &mut metrics_registry);
        let (trigger, watcher) = drain::channel();
        let readiness = Readiness::new();
        let follow = Follow {
            agents,
            audit_condition: readiness.condition("audit log"),
            repositories,
            repositories_condition: readiness.condition("configuration repositories"),
        };
        let ops = Ops {
            registry: Arc::new(metrics_registry),
            readiness,
            level,
            drain: watcher.notice(),
        };
        let parts = Parts {
            registry: Registry::new(metrics.clone()),
            budget,
            authenticator: Arc::new(authenticator),
            metrics,
            store,
            identity,
            audit,
            rules,
            webhooks,
            directory,
        };
        Ok(Self {
            addresses: sockets.addresses()?,
            config,
            file,
            parts,
            follow,
            sockets,
            ops,
            audit_writer,
            trigger,
            watcher,
        })
    }

    /// What agents pin: the hash that the join command prints.
    pub fn pin(&self) -> String {
        self.parts.identity.pin().to_string()
    }

    /// The CA that was made here and clients must be given, as PEM.
    pub fn ca_pem(&self) -> Option<&str> {
        self.parts.identity.ca_pem()
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
        let (parts, config) = (self.parts, self.config);
        let _ops = ops::serve(self.sockets.ops, self.ops, parts.status().routes())?;
        let port = self.addresses.kubernetes_api.port();
        let cluster = cluster(&config, &parts.identity, port)?;
        let proxy = Arc::new(parts.proxy(&config, cluster, &self.watcher));
        let mut background = JoinSet::new();
        background.spawn(self.follow.run(parts.followed(&proxy)));
        background.spawn(Arc::clone(&parts.identity).watch());
        background.spawn(follow::reloads(parts.reloaded(self.file, &proxy), reload));
        background.spawn(parts.stalled(&config, proxy.live.clone()).run());
        background.spawn(cut_when_forced(proxy.live.clone(), self.watcher.notice()));
        let (end_agents, agents_end) = oneshot::channel();
        let listener = Arc::new(parts.listener(&config, self.watcher.notice()));
        let agents = tokio::spawn(listener.serve(self.sockets.agents, agents_end));
        let (tcp, security) = (self.sockets.front, self.sockets.security);
        let bounds = front::Limits {
            connections: config.kubernetes_api.max_connections,
            head_timeout: config.timeouts.request_head,
            idle_timeout: config.timeouts.idle_connection,
        };
        let addresses = proxy.limits.addresses.clone();
        tokio::spawn(front::serve(tcp, security, bounds, proxy, self.watcher));
        self.addresses.announce();

        shutdown.await;
        drain(&self.trigger, config.timeouts.drain, force).await;
        // Requests are over, so nothing needs the agents any more.
        let _ = end_agents.send(());
        let _ = tokio::time::timeout(LAST_WORDS, agents).await;
        background.shutdown().await;
        strangers::tell(&addresses, &parts.audit, SignedDuration::ZERO);
        parts.store.close().await;
        let audit = tokio::task::spawn_blocking(|| self.audit_writer.finish());
        audit.await.context("the audit log")
    }
}

/// What requests of all agents may hold, and its gauge.
fn budget(config: &Config, metrics: &mut MetricsRegistry) -> Arc<Budget> {
    let budget = Budget::new(config.quic.budget.as_u64());
    metrics.register_with_unit(
        "ci_tunnel_server_held",
        "What requests may hold for slow readers now, beyond quic.initial_window each",
        Unit::Bytes,
        budget.held().clone(),
    );
    budget
}

impl Addresses {
    fn announce(&self) {
        tracing::info!(
            kubernetes_api = %self.kubernetes_api,
            agents = %self.agents,
            ops = %self.ops,
            "serving"
        );
    }
}

async fn cut_when_forced(live: Live, drain: drain::Notice) {
    drain.forced().await;
    live.cut_all();
}

async fn drain(trigger: &drain::Trigger, grace: Duration, force: impl Future<Output = ()>) {
    tracing::info!(grace = grace.as_secs(), "draining");
    let forced = async {
        force.await;
        trigger.force();
        std::future::pending().await
    };
    let outcome = tokio::select! {
        outcome = trigger.drain(grace) => outcome,
        () = forced => drain::Outcome::Forced,
    };
    tracing::info!(?outcome, "drained");
}

/// For close frames to leave after the drain.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What configuration repositories are read with.
pub fn repositories_place(config: &Config, metrics: &Metrics) -> configrepo::Place {
    configrepo::Place {
        state_dir: config.state_dir.clone(),
        metrics: metrics.clone(),
    }
}

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

/// What KUBECONFIGs say of the server whose Kubernetes API front listens on `port`.
///
/// # Errors
/// The CA's file can not be read.
pub fn cluster(config: &Config, identity: &ServerIdentity, port: u16) -> anyhow::Result<Cluster> {
    let made_here = || identity.ca_pem().map(str::to_owned);
    Ok(Cluster {
        server: config.public_url(port),
        ca_pem: config.ca_pem()?.or_else(made_here),
    })
}
