//! Two ends of a connection, with a relay between them.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::relay::Relay;
use crate::config::net::Quic;
use crate::protocol::{ALPN, ALPN_HTTP2};
use crate::transport::connection::{Connection, Transport};
use crate::transport::endpoint::{self, Keys};
use crate::transport::tls::{self, ServerIdentity, Trust};
use crate::transport::{http2, tcp};

/// Both ends, and what lies between.
pub(in crate::transport) struct Pair {
    pub(in crate::transport) server: Connection,
    pub(in crate::transport) agent: Connection,
    pub(super) relay: Relay,
    _endpoint: Option<quinn::Endpoint>,
    _dir: tempfile::TempDir,
}

const ANY: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

impl Pair {
    pub(in crate::transport) async fn new(transport: Transport, quic: &Quic) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let identity = ServerIdentity::made_in(dir.path(), &["localhost".to_owned()]).unwrap();
        match transport {
            Transport::Quic => Self::quic(identity, quic, dir).await,
            Transport::Http2 => Self::http2(identity, quic, dir).await,
        }
    }

    async fn quic(identity: ServerIdentity, quic: &Quic, dir: tempfile::TempDir) -> Self {
        let keys = Keys {
            stateless_reset: [1; 32],
            address_token: [2; 32],
        };
        let tls = identity.quic_config(&[ALPN]).unwrap();
        let endpoint = endpoint::server(SocketAddr::from(ANY), quic, tls, &keys).unwrap();
        let relay = Relay::udp(endpoint.local_addr().unwrap()).await;
        let trust = tls::client_config(&Trust::Pin(identity.pin()), &[ALPN]).unwrap();
        let client = endpoint::client(relay.address, quic).unwrap();
        let connect = client.connect(relay.address, "localhost", quic, trust);
        let accept = async { endpoint.accept().await.unwrap().await.unwrap() };
        let (agent, server) = tokio::join!(connect, accept);
        Self {
            server: Connection::accepted(server),
            agent: agent.unwrap(),
            relay,
            _endpoint: Some(endpoint),
            _dir: dir,
        }
    }

    async fn http2(identity: ServerIdentity, quic: &Quic, dir: tempfile::TempDir) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(ANY)).await.unwrap();
        let relay = Relay::tcp(listener.local_addr().unwrap()).await;
        let accepting = identity.quic_config(&[ALPN_HTTP2]).unwrap();
        let trust = tls::client_config(&Trust::Pin(identity.pin()), &[ALPN_HTTP2]).unwrap();
        let tasks = TaskTracker::new();
        let accept = async {
            let (stream, peer) = listener.accept().await.unwrap();
            let stream = tcp::accept(stream, accepting).await.unwrap();
            http2::to_agent(stream, peer, quic, &tasks).await.unwrap()
        };
        let connect = async {
            let stream = tcp::connect(&[relay.address]).await.unwrap();
            let stream = tcp::secure(stream, "localhost", trust).await.unwrap();
            http2::to_server(stream, relay.address, quic, &tasks)
                .await
                .unwrap()
        };
        let (server, agent) = tokio::join!(accept, connect);
        Self {
            server,
            agent,
            relay,
            _endpoint: None,
            _dir: dir,
        }
    }
}
