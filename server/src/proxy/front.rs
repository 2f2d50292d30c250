//! TCP and TLS in front of the proxy: accept, handshake, HTTP/1.1 or HTTP/2 by ALPN, graceful close.

mod heads;
mod http;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ci_tunnel::runtime::drain;
use ci_tunnel::runtime::sparing::Sparing;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::Proxy;
use super::client::Client;
use crate::metrics::{Metrics, ReasonLabels};

/// Bounds of the front.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Client connections at a time; more wait in the kernel's queue.
    pub connections: usize,
    /// For the TLS handshake, and for a request's head (RFC 9112, section 3), counted from when the connection could
    /// have begun to send it.
    pub head_timeout: Duration,
    /// For a connection that has shown a good credential and on which no request begins. An HTTP/1.1 connection is
    /// closed then; an HTTP/2 connection is asked to end, and what runs on it may go on.
    pub idle_timeout: Duration,
}

/// How clients connect.
#[derive(Clone)]
pub enum Security {
    Tls(TlsAcceptor),
    /// Only when the configuration says so in words that frighten.
    Cleartext,
}

impl std::fmt::Debug for Security {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tls(_) => "Tls",
            Self::Cleartext => "Cleartext",
        })
    }
}

/// A client that is gone without a word is noticed after a few times this, so that its watch does not live for ever.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Bytes of a client that the kernel takes before earlier ones are on their way: a thousand stalled readers would else pin
/// gigabytes of its memory.
const UNSENT: u32 = 128 * 1024;
/// Log lines a period about addresses that have too many connections.
const CROWDED_LINES: (u32, Duration) = (5, Duration::from_secs(10));

/// Accepts clients until told to drain, then waits for those that are there.
pub async fn serve(
    listener: TcpListener,
    security: Security,
    limits: Limits,
    proxy: Arc<Proxy>,
    drain: drain::Watcher,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    let crowded = Sparing::new(CROWDED_LINES.0, CROWDED_LINES.1);
    loop {
        let place = tokio::select! {
            biased;
            () = drain.draining() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let accepted = tokio::select! {
            biased;
            () = drain.draining() => break,
            accepted = listener.accept() => accepted,
            Some(ended) = connections.join_next() => {
                report(ended);
                continue;
            }
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                accept_failed(&error).await;
                continue;
            }
        };
        let Some(client) = Client::new(address, &proxy.limits.addresses) else {
            refused(&proxy.metrics, address, &crowded);
            continue;
        };
        let client = Arc::new(client);
        let (security, proxy, drain) = (security.clone(), Arc::clone(&proxy), drain.clone());
        connections.spawn(async move {
            let metrics = proxy.metrics.clone();
            metrics.client_connections.inc();
            connection(stream, client, security, limits, proxy, drain).await;
            metrics.client_connections.dec();
            drop(place);
        });
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a client's connection panicked");
    }
}

/// Closed before it costs a handshake.
fn refused(metrics: &Metrics, address: SocketAddr, lines: &Sparing) {
    count(metrics, "crowded");
    if let Some(unsaid) = lines.say("crowded") {
        tracing::warn!(
            client = %address,
            unsaid,
            "a connection was refused: its address has too many without a good credential (limits.address.connections)"
        );
    }
}

/// No file handles left, most often: accepting at once again would only spin.
async fn accept_failed(error: &std::io::Error) {
    tracing::error!(%error, "a client's connection could not be accepted");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn connection(
    stream: TcpStream,
    client: Arc<Client>,
    security: Security,
    limits: Limits,
    proxy: Arc<Proxy>,
    drain: drain::Watcher,
) {
    prepare(&stream);
    let Security::Tls(acceptor) = security else {
        return http::serve_http1(stream, client, limits, proxy, drain).await;
    };
    let tls = match timeout(limits.head_timeout, acceptor.accept(stream)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => return failed(&proxy.metrics, &client, "tls", &error.to_string()),
        Err(_) => {
            return failed(
                &proxy.metrics,
                &client,
                "tls_timeout",
                "no TLS handshake in time",
            );
        }
    };
    if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
        http::serve_http2(tls, client, limits, proxy, drain).await;
    } else {
        http::serve_http1(tls, client, limits, proxy, drain).await;
    }
}

/// Failures are those of a connection that is gone already.
fn prepare(stream: &TcpStream) {
    // Watch events and terminal echoes are small and must not wait for more.
    let _ = stream.set_nodelay(true);
    let keep_alive = TcpKeepalive::new()
        .with_time(KEEP_ALIVE)
        .with_interval(KEEP_ALIVE / 3);
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_keepalive(&keep_alive);
    let _ = socket.set_tcp_notsent_lowat(UNSENT);
}

fn failed(metrics: &Metrics, client: &Client, phase: &'static str, error: &str) {
    count(metrics, phase);
    tracing::debug!(client = %client.address, phase, error, "a client's connection failed");
}

fn count(metrics: &Metrics, reason: &'static str) {
    let failed = &metrics.client_connections_failed;
    failed.get_or_create(&ReasonLabels { reason }).inc();
}
