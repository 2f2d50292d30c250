//! Puts the agent together, runs it, and brings it to its end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use ci_tunnel::protocol::ALPN_HTTP2;
use ci_tunnel::protocol::control::Health;
use ci_tunnel::runtime::drain::{self, Outcome, Trigger, Watcher};
use ci_tunnel::runtime::ops::{self, Ops};
use ci_tunnel::runtime::ready::{Condition, Readiness};
use ci_tunnel::runtime::signal::Shutdown;
use ci_tunnel::runtime::tasks;
use ci_tunnel::runtime::telemetry::LogLevel;
use ci_tunnel::transport::credit::Budget;
use ci_tunnel::transport::tls;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::config::{self, Config};
use crate::connect::{self, Server};
use crate::health;
use crate::metrics::Metrics;
use crate::session::{self, Shared};
use crate::upstream::credentials::Credentials;
use crate::upstream::{Settings, Upstream};

/// What cutting the last requests and closing the connection may take, beyond `drain_timeout`.
const END_GRACE: Duration = Duration::from_secs(5);

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    trigger: Trigger,
    drain_timeout: Duration,
    connection: AbortOnDropHandle<Result<(), connect::Error>>,
    ops: Option<ops::Running>,
    readiness: Readiness,
    _probe: AbortOnDropHandle<()>,
}

/// Makes every part and starts them. `level` changes the log's level when the server asks for it.
///
/// # Errors
/// A file can not be used, or the ops address is taken.
pub async fn start(config: Config, level: LogLevel) -> anyhow::Result<Agent> {
    let listener = config.ops.map(ops::bind).transpose()?;
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    tasks::register(&mut registry, "ci_tunnel_agent");
    // Read again for each connection; one that can not be read now is most likely a mistake in the configuration.
    config.token.read().context("token")?;
    let server = server(&config)?;
    let upstream = upstream(&config.upstream).await?;
    Metrics::register_upstream(&mut registry, upstream.counters());
    let budget = Budget::new(config.quic.budget.as_u64());
    Metrics::register_held(&mut registry, budget.held());
    info!(server = %config.server, api_server = %upstream.endpoint_text(), threads = config.threads, "agent starts");

    let (trigger, watcher) = drain::channel();
    let readiness = Readiness::new();
    let (findings, health) = watch::channel(Health {
        ready: false,
        message: "not asked yet".to_owned(),
    });
    let ops = match listener {
        Some(listener) => {
            let ops = Ops {
                registry: Arc::new(registry),
                readiness: readiness.clone(),
                level: level.clone(),
                drain: watcher.notice(),
            };
            Some(ops::serve(listener, ops, Default::default())?)
        }
        None => None,
    };
    let follow = follow(readiness.condition("API server"), health.clone());
    let probe = health::probe(Arc::clone(&upstream), Arc::clone(&metrics), findings);
    let shared = Arc::new(shared(&config, upstream, metrics, health, budget, level));
    let aside = shared.set_aside.subscribe();
    let follow_server = follow_server(readiness.condition("data path"), aside);
    let probe = tokio::spawn(async move {
        tokio::join!(probe, follow, follow_server);
    });
    let connected = readiness.condition("server");
    let connection = tokio::spawn(connection(
        server,
        shared,
        config.watchdog,
        watcher,
        connected,
    ));
    Ok(Agent {
        trigger,
        drain_timeout: config.drain_timeout,
        connection: AbortOnDropHandle::new(connection),
        ops,
        readiness,
        _probe: AbortOnDropHandle::new(probe),
    })
}

impl Agent {
    /// Runs until a signal ends it gracefully, or until it gives up on its server.
    ///
    /// # Errors
    /// The server gave no sign of life for too long.
    pub async fn run(mut self, mut shutdown: Shutdown) -> anyhow::Result<()> {
        let signal = tokio::select! {
            ended = &mut self.connection => return ended.context("the connection's task failed")?.map_err(Into::into),
            signal = shutdown.recv() => signal,
        };
        info!(signal, "ending: a second signal ends at once");
        let drained = self.trigger.drain(self.drain_timeout + END_GRACE);
        tokio::pin!(drained);
        let outcome = loop {
            tokio::select! {
                outcome = &mut drained => break outcome,
                _ = shutdown.recv() => self.trigger.force(),
            }
        };
        info!(drained = outcome == Outcome::Drained, "ended");
        Ok(())
    }

    /// Drains and waits for the end.
    pub async fn stop(self) -> Outcome {
        self.trigger.drain(self.drain_timeout + END_GRACE).await
    }

    /// Where metrics and probes are served.
    pub fn ops_address(&self) -> Option<std::net::SocketAddr> {
        self.ops.as_ref().map(ops::Running::address)
    }

    /// Whether it is connected and its API server answers.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }
}

/// The server's part of a configuration, ready to dial.
///
/// # Errors
/// The certificates can not be used.
pub fn server(config: &Config) -> anyhow::Result<Server> {
    // A file that can not be used is to be heard of now, not in the log of a connection attempt.
    tls::client_config(&config.trust, &[ALPN_HTTP2]).context("trust in the server")?;
    Ok(Server {
        host: config.server.host.clone(),
        port: config.server.port,
        name: config.server_name.clone(),
        trust: config.trust.clone(),
        quic: config.quic.clone(),
        choice: config.ways.choice,
        proxies: config.ways.proxies.clone(),
        quic_retry: config.ways.quic_retry,
    })
}

/// The API server of a configuration.
///
/// # Errors
/// There are no usable credentials for it.
pub async fn upstream(config: &config::Upstream) -> anyhow::Result<Arc<Upstream>> {
    let credentials = Credentials::load(config.source.clone())
        .await
        .context("upstream")?;
    Ok(Upstream::new(
        credentials,
        Settings {
            max_idle: config.max_idle,
            buffers: config.buffers,
        },
    ))
}

fn shared(
    config: &Config,
    upstream: Arc<Upstream>,
    metrics: Arc<Metrics>,
    health: watch::Receiver<Health>,
    budget: Arc<Budget>,
    level: LogLevel,
) -> Shared {
    Shared {
        upstream,
        metrics,
        token: config.token.clone(),
        instance: rand::random(),
        pod: config.pod.clone(),
        health,
        settings: session::Settings {
            probe: false,
            quic: config.quic.clone(),
            drain_timeout: config.drain_timeout,
            response_deadline: config.upstream.response_timeout,
        },
        pace: session::Pace::default(),
        set_aside: watch::Sender::new(None),
        budget,
        set_log_level: Box::new(set_log_level(level)),
    }
}

/// A level from the server wins over the agent's own for as long as the server names one.
fn set_log_level(level: LogLevel) -> impl Fn(Option<&str>) + Send + Sync {
    let own = level.current();
    let before = Mutex::new(own.clone());
    move |wanted| {
        let wanted = wanted.unwrap_or(&own);
        let mut before = before
            .lock()
            .expect("no code panics while it holds this lock");
        if *before == wanted {
            return;
        }
        match level.set(wanted) {
            Ok(()) => {
                info!(
                    level = wanted,
                    "log level changed by the agent's configuration on the server"
                );
                wanted.clone_into(&mut before);
            }
            Err(error) => {
                warn!(%error, level = wanted, "the server asks for a log level that is none")
            }
        }
    }
}

async fn connection(
    server: Server,
    shared: Arc<Shared>,
    watchdog: Duration,
    watcher: Watcher,
    connected: Condition,
) -> Result<(), connect::Error> {
    let notice = watcher.notice();
    let tell = move |is| {
        if is {
            connected.met()
        } else {
            connected.unmet("not connected")
        }
    };
    let result = connect::run(server, shared, watchdog, notice, tell).await;
    drop(watcher);
    result
}

async fn follow(condition: Condition, mut health: watch::Receiver<Health>) {
    loop {
        {
            let health = health.borrow_and_update();
            if health.ready {
                condition.met()
            } else {
                condition.unmet(&health.message)
            }
        }
        if health.changed().await.is_err() {
            return;
        }
    }
}

/// The server tells when requests that it sends here get stuck, whatever this end sees of that.
async fn follow_server(condition: Condition, mut aside: watch::Receiver<Option<String>>) {
    loop {
        match aside.borrow_and_update().as_deref() {
            None => condition.met(),
            Some(why) => condition.unmet(why),
        }
        if aside.changed().await.is_err() {
            return;
        }
    }
}
