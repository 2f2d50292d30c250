//! Connections to the operator's port: few, and none for ever.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Extension};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Most connections at a time; the next one waits.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may take to send a request, and to send the next one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection may last. Scrapers connect again.
const MAX_LIFE: Duration = Duration::from_secs(600);
/// How long to wait after a failed accept: it fails at once again while file descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves connections until it is dropped.
pub(super) async fn run(listener: TcpListener, router: Router) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(ended) = connections.join_next() => {
                if let Err(panic) = ended {
                    tracing::error!(%panic, "a request to the ops listener panicked");
                }
            }
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, peer)) => _ = connections.spawn(serve(stream, peer, router.clone())),
                Err(error) => {
                    tracing::warn!(%error, "the ops listener cannot accept");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, router: Router) {
    let service = TowerToHyperService::new(router.layer(Extension(ConnectInfo(peer))));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(MAX_LIFE, connection).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a connection to the ops listener broke"),
    }
}
