//! HTTP/1.1 and HTTP/2 on a connection that is there: its times, and its graceful end.

use std::sync::Arc;
use std::time::Duration;

use ci_tunnel::runtime::drain;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;

use super::heads::Heads;
use super::{KEEP_ALIVE, Limits, failed};
use crate::proxy::Proxy;
use crate::proxy::body::Body;
use crate::proxy::client::Client;

/// Bytes that HTTP/1.1 buffers each way; each stalled client holds as many.
const BUFFER: usize = 64 * 1024;
/// Requests at a time on one HTTP/2 connection.
const H2_STREAMS: u32 = 250;
/// Bytes of one upload that wait for a slow agent.
const H2_STREAM_WINDOW: u32 = 256 * 1024;
/// All streams stalled, and the connection still has credit.
const H2_CONNECTION_WINDOW: u32 = (H2_STREAMS + 1) * H2_STREAM_WINDOW;
pub(super) async fn serve_http1<T>(
    io: T,
    client: Arc<Client>,
    limits: Limits,
    proxy: Arc<Proxy>,
    drain: drain::Watcher,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let metrics = proxy.metrics.clone();
    let heads = Heads::new(
        Arc::clone(&client),
        limits.head_timeout,
        limits.idle_timeout,
    );
    let ends = async {
        tokio::select! {
            biased;
            () = drain.draining() => {}
            () = heads.idle_for_too_long() => {}
        }
    };
    let connection = http1::Builder::new()
        .timer(heads.clone())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(BUFFER)
        .max_headers(ci_tunnel::protocol::MAX_HEADERS)
        .serve_connection(
            TokioIo::new(heads.count(io)),
            service(Arc::clone(&client), proxy),
        )
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        biased;
        result = connection.as_mut() => result,
        () = ends => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                result = connection => result,
                () = cut(&drain) => return,
            }
        }
    };
    if let Err(error) = result {
        failed(&metrics, &client, "http1", &error.to_string());
    }
}

pub(super) async fn serve_http2<T>(
    io: T,
    client: Arc<Client>,
    limits: Limits,
    proxy: Arc<Proxy>,
    drain: drain::Watcher,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let metrics = proxy.metrics.clone();
    let (begun, requests) = watch::channel(());
    let service = service(Arc::clone(&client), proxy);
    let service = service_fn(move |request| {
        begun.send_replace(());
        service.call(request)
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS)
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_header_list_size(BUFFER as u32)
        .max_send_buf_size(BUFFER)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        biased;
        result = connection.as_mut() => result,
        used = ends(&drain, requests, &client, limits) => {
            if !used {
                return failed(&metrics, &client, "http2", "no request in time");
            }
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                result = connection => result,
                () = cut(&drain) => return,
            }
        }
    };
    if let Err(error) = result {
        failed(&metrics, &client, "http2", &error.to_string());
    }
}

/// Waits until the server drains or no request began for long. False: there was none at all, so not even the HTTP/2
/// preface may be there, and a graceful end would wait for it.
async fn ends(
    drain: &drain::Watcher,
    mut requests: watch::Receiver<()>,
    client: &Client,
    limits: Limits,
) -> bool {
    let begun = requests.clone();
    let idle = async {
        let mut used = false;
        loop {
            let known = client.is_known();
            let patience = if known {
                limits.idle_timeout
            } else {
                limits.head_timeout
            };
            match timeout(patience, requests.changed()).await {
                Ok(Ok(())) => used = true,
                // The first request was let in while this waited.
                Err(_) if client.is_known() != known => {}
                _ => return used,
            }
        }
    };
    tokio::select! {
        biased;
        // An error means that the connection is over.
        () = drain.draining() => begun.has_changed().unwrap_or(true),
        used = idle => used,
    }
}

/// Requests that are cut at the end have this long to say so.
const CUT_GRACE: Duration = Duration::from_millis(500);

async fn cut(drain: &drain::Watcher) {
    drain.forced().await;
    tokio::time::sleep(CUT_GRACE).await;
}

fn service(
    client: Arc<Client>,
    proxy: Arc<Proxy>,
) -> impl Service<
    Request<Incoming>,
    Response = http::Response<Body>,
    Error = std::convert::Infallible,
    Future: Send + 'static,
> {
    service_fn(move |request| {
        let (proxy, client) = (Arc::clone(&proxy), Arc::clone(&client));
        async move { Ok(proxy.handle(request, client).await) }
    })
}
