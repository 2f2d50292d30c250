//! A stand-in for a Kubernetes API server: HTTPS on a free port of 127.0.0.1, HTTP/1.1 and HTTP/2, that records all that
//! arrives and answers just enough for `kubectl` and for the tests.
//!
//! It is **not** Kubernetes: it keeps a few kinds in memory, checks nothing but a bearer token, and its pods are pretence. Where a
//! test can have a real API server it should; this one is for what a real one cannot do (break off, answer early, count, wait).
//!
//! * `/api`, `/apis`, `/version` ...: what kubectl needs ([`discovery`], [`resources`], [`pod`], [`identity`]).
//! * `/echo`, `/slow`, `/early`, `/trailers`, `/bytes`, `/small`, `/watch`, `/status/..`, `/break`, `/doubled`, `/head`:
//!   [`scripted`].
//! * `/upgrade/..`: right and wrong answers to upgrades ([`upgrade`]).

mod body;
mod connection;
mod discovery;
mod exec;
mod identity;
mod pod;
pub mod recorder;
mod reply;
mod resources;
mod routes;
mod scripted;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod upgrade;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use self::connection::Peer;
pub use self::recorder::{Body, Connection, End, Received, Recorder};
use self::scripted::Watchers;
use self::store::Store;
use crate::pki::Authority;

/// A running stand-in; it stops when dropped.
pub struct ApiServer {
    addr: SocketAddr,
    ca_pem: String,
    tls: TlsAcceptor,
    state: Arc<State>,
    accepting: JoinSet<()>,
}

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServer")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

/// How to start a stand-in.
#[derive(Debug, Clone)]
pub struct Options {
    /// The bearer token it asks for; anything else is 401.
    pub token: String,
    /// The application protocols it offers, best first.
    pub alpn: Vec<&'static str>,
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
}

/// What all connections share.
#[derive(Debug)]
struct State {
    token: String,
    recorder: Recorder,
    store: Store,
    watchers: Watchers,
    slow: Semaphore,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            token: "stand-in-token".to_owned(),
            alpn: vec!["h2", "http/1.1"],
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
        }
    }
}

impl ApiServer {
    /// Starts with the default [`Options`] and an authority of its own.
    pub async fn start() -> Result<Self> {
        Self::start_with(Options::default()).await
    }

    pub async fn start_with(options: Options) -> Result<Self> {
        let authority = Authority::new("stand-in cluster")?;
        let tls = authority.local_server()?.server_config(&options.alpn)?;
        let tls = TlsAcceptor::from(tls);
        let listener = TcpListener::bind(options.listen)
            .await
            .with_context(|| format!("listening on {}", options.listen))?;
        let addr = listener.local_addr()?;
        let state = Arc::new(State {
            token: options.token,
            recorder: Recorder::default(),
            store: Store::furnished(),
            watchers: Watchers::default(),
            slow: Semaphore::new(0),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, tls.clone(), Arc::clone(&state)));
        Ok(Self {
            addr,
            ca_pem: authority.ca_pem(),
            tls,
            state,
            accepting,
        })
    }

    /// Ends it, with all its connections: its address refuses connections when this returns.
    pub async fn stop(&mut self) {
        self.accepting.shutdown().await;
    }

    /// Begins again at the same address, with the same certificate and memory.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await;
        let listener = TcpListener::bind(self.addr)
            .await
            .context("listening again")?;
        let state = Arc::clone(&self.state);
        self.accepting
            .spawn(accept(listener, self.tls.clone(), state));
        Ok(())
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.addr)
    }

    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    pub fn token(&self) -> &str {
        &self.state.token
    }

    /// What arrived.
    pub fn recorder(&self) -> &Recorder {
        &self.state.recorder
    }

    /// Lets one request to `/slow` be answered, now or when it comes.
    pub fn release_slow(&self) {
        self.state.slow.add_permits(1);
    }

    /// Waits until this many clients watch `/watch`.
    pub async fn wait_for_watchers(&self, count: usize) -> Result<()> {
        self.state.watchers.wait_for(count).await
    }

    /// Sends an event as one JSON line to all who watch `/watch`, and returns when the last of them was written to its
    /// connection.
    pub async fn push_event(&self, event: &Value) -> Result<Instant> {
        self.state.watchers.push(event).await
    }

    /// Appends a line to the log of a pod, for those who follow it too.
    pub fn log_line(&self, namespace: &str, pod: &str, line: &str) {
        self.state.store.log_line(namespace, pod, line);
    }

    /// Creates or replaces an object, as a client would; watchers of its kind see it.
    pub fn put_object(&self, resource: &str, object: Value) {
        self.state.store.put(resource, object);
    }

    /// A kubeconfig for this stand-in itself, with its token.
    pub fn kubeconfig(&self) -> String {
        kubeconfig(&self.url(), &self.ca_pem, &self.state.token)
    }
}

/// A kubeconfig of one cluster, one user with a token, one context. (YAML is a superset of JSON.)
pub fn kubeconfig(server: &str, ca_pem: &str, token: &str) -> String {
    use base64::Engine as _;
    let ca = base64::engine::general_purpose::STANDARD.encode(ca_pem);
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "cluster", "cluster": {"server": server, "certificate-authority-data": ca}}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "context", "context": {"cluster": "cluster", "user": "user"}}],
        "current-context": "context",
    })
    .to_string()
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, state: Arc<State>) {
    // Dropped with this future, and with it every connection.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Out of file descriptors or reset before accept: the next one may do.
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(Peer::serve(stream, tls.clone(), Arc::clone(&state)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
