//! HTTP/2 connections to the server, over TLS and TCP, and over a proxy where there is one.

use std::net::SocketAddr;
use std::time::Duration;

use ci_tunnel::protocol::ALPN_HTTP2;
use ci_tunnel::transport::connection::Connection;
use ci_tunnel::transport::{http2, tcp, tls};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::error::Error;
use super::quic::addresses;
use super::server::Server;

/// For each of: TCP to any of the addresses; TLS and HTTP/2.
const DEADLINE: Duration = Duration::from_secs(10);

/// One attempt over all addresses but those of `failed`.
pub(super) async fn connect(
    server: &Server,
    failed: &[SocketAddr],
    tasks: &TaskTracker,
) -> Result<Connection, Error> {
    let late = |phase| Error::TcpLate {
        server: server.authority(),
        phase,
    };
    let stream = match server.proxies.choose(&server.host, server.port)? {
        Some(proxy) => proxy.connect(&server.authority()).await?,
        None => {
            let addresses = addresses(server, failed).await?;
            let stream = timeout(DEADLINE, tcp::connect(&addresses)).await;
            stream.map_err(|_| late("TCP"))??
        }
    };
    let peer = stream.peer_addr().map_err(Error::Socket)?;
    // Made anew each time: a ca_file may have been replaced since.
    let tls = tls::client_config(&server.trust, &[ALPN_HTTP2])?;
    let secured = async {
        let stream = tcp::secure(stream, &server.name, tls).await?;
        Ok(http2::to_server(stream, peer, &server.quic, tasks).await?)
    };
    timeout(DEADLINE, secured).await.map_err(|_| late("TLS"))?
}
