//! One new HTTP/1.1 connection to the API server: resolve, dial, TLS handshake, each with its deadline.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::credentials::Loaded;
use super::endpoint::Endpoint;
use super::pool::Connection;
use super::{Body, Error, tls};

/// From the name to an open TCP connection.
const DIAL_DEADLINE: Duration = Duration::from_secs(5);
/// The TLS handshake.
const TLS_DEADLINE: Duration = Duration::from_secs(5);
/// Each address gets at least this much of the dial's deadline.
const LEAST_PER_ADDRESS: Duration = Duration::from_secs(1);
/// A watch may be silent for minutes; a peer that is gone must be noticed all the same.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_TRIES: u32 = 3;
/// Bounds what a stalled reader makes hyper hold; a response head must fit.
const MAX_BUFFER: usize = 64 * 1024;

/// What the kernel may hold for one connection, each way; its own judgement when `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SocketBuffers {
    pub send: Option<u32>,
    pub receive: Option<u32>,
}

pub(super) async fn connect(loaded: &Loaded, buffers: SocketBuffers) -> Result<Connection, Error> {
    let endpoint = &loaded.endpoint;
    let tcp = dial(endpoint, buffers).await?;
    let (Some(tls), Some(name)) = (&loaded.tls, &endpoint.server_name) else {
        return start(tcp, loaded).await;
    };
    let name = ServerName::try_from(name.clone()).map_err(|_| Error::Untrusted {
        endpoint: endpoint.to_string(),
        reason: format!("{name:?} can not be the name in a certificate"),
    })?;
    let connector = TlsConnector::from(Arc::clone(&tls.config));
    match timeout(TLS_DEADLINE, connector.connect(name, tcp)).await {
        Ok(Ok(stream)) => start(stream, loaded).await,
        Ok(Err(error)) => Err(match tls::distrust(&error) {
            Some(reason) => Error::Untrusted {
                endpoint: endpoint.to_string(),
                reason,
            },
            None => unreachable(endpoint, format!("TLS handshake: {error}")),
        }),
        Err(_) => Err(unreachable(
            endpoint,
            format!("no TLS handshake in {} s", TLS_DEADLINE.as_secs()),
        )),
    }
}

async fn dial(endpoint: &Endpoint, buffers: SocketBuffers) -> Result<TcpStream, Error> {
    let deadline = Instant::now() + DIAL_DEADLINE;
    let late = || {
        unreachable(
            endpoint,
            format!("no connection in {} s", DIAL_DEADLINE.as_secs()),
        )
    };
    let resolve = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port));
    let addresses: Vec<SocketAddr> = match timeout_at(deadline, resolve).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err(unreachable(endpoint, format!("DNS: {error}"))),
        Err(_) => {
            return Err(unreachable(
                endpoint,
                format!("DNS gave no answer in {} s", DIAL_DEADLINE.as_secs()),
            ));
        }
    };
    let mut last = unreachable(endpoint, "DNS knows no address of it".to_owned());
    let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for address in addresses {
        let now = Instant::now();
        let share = (deadline.saturating_duration_since(now) / left).max(LEAST_PER_ADDRESS);
        left = left.saturating_sub(1).max(1);
        match timeout_at(deadline.min(now + share), open(address, buffers)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = unreachable(endpoint, format!("{address}: {error}")),
            Err(_) => last = late(),
        }
    }
    Err(last)
}

async fn open(address: SocketAddr, buffers: SocketBuffers) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(size) = buffers.send {
        socket.set_send_buffer_size(size)?;
    }
    if let Some(size) = buffers.receive {
        socket.set_recv_buffer_size(size)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(KEEPALIVE_TRIES);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

async fn start<T>(io: T, loaded: &Loaded) -> Result<Connection, Error>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_BUFFER);
    let (sender, connection) = builder
        .handshake::<_, Body>(TokioIo::new(io))
        .await
        .map_err(|error| unreachable(&loaded.endpoint, error.to_string()))?;
    let driver = tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to the API server ended");
        }
    });
    Ok(Connection::new(
        sender,
        AbortOnDropHandle::new(driver),
        loaded.tls.clone(),
    ))
}

fn unreachable(endpoint: &Endpoint, reason: String) -> Error {
    Error::Unreachable {
        endpoint: endpoint.to_string(),
        reason,
    }
}
