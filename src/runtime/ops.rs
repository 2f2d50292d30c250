//! The operator's port: `/metrics`, `/livez`, `/readyz` and `/log`.
//!
//! It runs on a thread and runtime of its own, so that a scrape does not slow the traffic and a stuck traffic runtime
//! can still be looked at.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::sync::oneshot;

use super::drain::Notice;
use super::ready::Readiness;
use super::telemetry::LogLevel;

mod accept;

/// The longest body of a request to this port.
const MAX_BODY: usize = 4096;
/// What Prometheus calls the format of the metrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the port shows.
#[derive(Debug, Clone)]
pub struct Ops {
    /// The metrics.
    pub registry: Arc<Registry>,
    /// Whether the process is ready.
    pub readiness: Readiness,
    /// The level of the log.
    pub level: LogLevel,
    /// A process that drains is not ready.
    pub drain: Notice,
}

/// Binds the port; nothing is answered before [`serve`].
///
/// # Errors
/// The address is taken or not one of this host.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).map_err(|error| {
        io::Error::new(error.kind(), format!("ops listener {address}: {error}"))
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers on `listener` until the returned handle is dropped. The routes of `more` are served beside its own.
///
/// # Errors
/// No thread or runtime can be had.
pub fn serve(listener: TcpListener, ops: Ops, more: Router) -> io::Result<Running> {
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("ops".to_owned())
        .spawn(move || {
            runtime.block_on(run(listener, router(ops, more), stopped));
            // Connections that are still open end with the runtime.
        })?;
    Ok(Running {
        address,
        stop: Some(stop),
        thread: Some(thread),
    })
}

/// The running port. It ends when this is dropped.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the ops listener panicked");
        }
    }
}

async fn run(listener: TcpListener, router: Router, stopped: oneshot::Receiver<()>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the ops listener cannot be used"),
    };
    tokio::select! {
        biased;
        _ = stopped => {}
        never = accept::run(listener, router) => match never {},
    }
}

fn router(ops: Ops, more: Router) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/log", get(level).put(set_level))
        .with_state(ops)
        .merge(more)
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

async fn metrics(State(ops): State<Ops>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &ops.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("metrics: {error}\n"),
        )
            .into_response(),
    }
}

async fn readyz(State(ops): State<Ops>) -> Response {
    let mut missing = ops.readiness.missing();
    if ops.drain.is_draining() {
        missing.insert(0, "draining".to_owned());
    }
    if missing.is_empty() {
        return "ok\n".into_response();
    }
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("not ready:\n{}\n", missing.join("\n")),
    )
        .into_response()
}

async fn level(State(ops): State<Ops>, peer: ConnectInfo<SocketAddr>) -> Response {
    from_this_host(peer).unwrap_or_else(|| format!("{}\n", ops.level.current()).into_response())
}

async fn set_level(
    State(ops): State<Ops>,
    peer: ConnectInfo<SocketAddr>,
    directives: String,
) -> Response {
    from_this_host(peer).unwrap_or_else(|| match ops.level.set(&directives) {
        Ok(()) => {
            let level = ops.level.current();
            tracing::info!(%level, "the log level was changed");
            format!("{level}\n").into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    })
}

/// The refusal, if the peer is another host: who can see debug lines, or hide warnings, must be let in here first.
fn from_this_host(ConnectInfo(peer): ConnectInfo<SocketAddr>) -> Option<Response> {
    if peer.ip().to_canonical().is_loopback() {
        return None;
    }
    Some(
        (
            StatusCode::FORBIDDEN,
            "the log level is shown and set from this host alone\n",
        )
            .into_response(),
    )
}

#[cfg(test)]
mod tests;
