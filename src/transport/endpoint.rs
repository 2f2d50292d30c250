//! QUIC endpoints: a server's, which agents connect to, and an agent's.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use quinn::{
    ConnectionError, ConnectionId, ConnectionIdGenerator, EndpointConfig, TokenLog,
    TokenMemoryCache, TokenReuseError, TransportErrorCode, ValidationTokenConfig,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::connection::Connection;
use super::params::{self, Side};
use crate::config::net::Quic;

/// Why there is no endpoint or no connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The UDP socket could not be made or bound.
    #[error("UDP {address}: {source}")]
    Bind {
        /// The address to bind.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The TLS configuration has no cipher suite that QUIC can begin with.
    #[error("the TLS configuration can not carry QUIC: {0}")]
    Tls(#[from] NoInitialCipherSuite),
    /// The attempt can not be made.
    #[error("can not connect to {address}: {source}")]
    Connect {
        /// The peer.
        address: SocketAddr,
        /// Why.
        source: quinn::ConnectError,
    },
    /// The attempt failed.
    #[error("no QUIC connection to {address}: {source}")]
    Handshake {
        /// The peer.
        address: SocketAddr,
        /// Why.
        source: ConnectionError,
    },
}

impl Error {
    /// Whether the peer lives and takes no more connections for now.
    pub fn is_refusal(&self) -> bool {
        let Self::Handshake { source, .. } = self else {
            return false;
        };
        matches!(source, ConnectionError::ConnectionClosed(close)
            if close.error_code == TransportErrorCode::CONNECTION_REFUSED)
    }
}

/// Between stateless resets. Each is shorter than the packet that provokes it, so peers can not make each other go on, and a
/// server that restarts owes one to each of its agents: quinn's 20 ms would let thousands wait for minutes.
const RESET_INTERVAL: Duration = Duration::from_micros(50);

/// Secrets that must outlive a restart, so that peers learn of it at once instead of waiting out the idle limit.
#[derive(Clone, Copy)]
pub struct Keys {
    /// Signs stateless reset tokens (RFC 9000, section 10.3).
    pub stateless_reset: [u8; 32],
    /// Seals address validation tokens (RFC 9000, section 8.1).
    pub address_token: [u8; 32],
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// Binds a server's endpoint.
///
/// # Errors
/// The address can not be bound, or the TLS configuration can not carry QUIC.
pub fn server(
    address: SocketAddr,
    quic: &Quic,
    tls: Arc<rustls::ServerConfig>,
    keys: &Keys,
) -> Result<quinn::Endpoint, Error> {
    let token_key =
        aws_lc_rs::hkdf::Salt::new(aws_lc_rs::hkdf::HKDF_SHA256, &[]).extract(&keys.address_token);
    let crypto = Arc::new(QuicServerConfig::try_from(tls)?);
    let mut config = quinn::ServerConfig::new(crypto, Arc::new(token_key));
    config.transport_config(params::transport(quic, Side::Server));
    // Handshakes not yet accepted hold memory for anyone who sends packets.
    config
        .max_incoming(4096)
        .incoming_buffer_size(64 * 1024)
        .incoming_buffer_size_total(32 * 1024 * 1024);
    let mut tokens = ValidationTokenConfig::default();
    tokens.sent(TOKENS).log(Arc::new(Unlogged));
    config.validation_token_config(tokens);
    let reset_key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &keys.stateless_reset);
    let mut endpoint_config = EndpointConfig::new(Arc::new(reset_key));
    endpoint_config
        .cid_generator(|| Box::new(RandomIds))
        .min_reset_interval(RESET_INTERVAL);
    bind(address, quic, endpoint_config, Some(config))
}

/// Random connection ids. quinn's own are marked with a key of the process, and packets without that mark are dropped: a
/// restarted server would never reset what its predecessor left. (Resets are few: quinn spaces them.)
struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&rand::random::<[u8; ID_LEN]>())
    }

    fn cid_len(&self) -> usize {
        ID_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

const ID_LEN: usize = 8;
/// Tokens for each agent, by which it need not prove its address when it comes again (RFC 9000, section 8.1.3).
const TOKENS: u32 = 2;

/// Takes a token as often as it is shown: it is good for one address alone, and what it saves is the round trip of a Retry
/// when thousands come back at once.
struct Unlogged;

impl TokenLog for Unlogged {
    fn check_and_insert(&self, _: u128, _: SystemTime, _: Duration) -> Result<(), TokenReuseError> {
        Ok(())
    }
}

/// An agent's endpoint, and what servers gave it for the next time. Clones share both.
#[derive(Clone)]
pub struct Client {
    endpoint: quinn::Endpoint,
    tokens: Arc<TokenMemoryCache>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Client").field(&self.endpoint).finish()
    }
}

/// Binds an agent's endpoint, to any port of the family of `peer`.
///
/// # Errors
/// No socket could be bound.
pub fn client(peer: SocketAddr, quic: &Quic) -> Result<Client, Error> {
    let address = match peer {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    Ok(Client {
        endpoint: bind(address, quic, EndpointConfig::default(), None)?,
        tokens: Arc::default(),
    })
}

impl Client {
    /// Connects to a server.
    ///
    /// # Errors
    /// The handshake failed. There is no deadline but the idle timeout: the caller sets one.
    pub async fn connect(
        &self,
        address: SocketAddr,
        server_name: &str,
        quic: &Quic,
        tls: Arc<rustls::ClientConfig>,
    ) -> Result<Connection, Error> {
        let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        config.transport_config(params::transport(quic, Side::Agent));
        let tokens: Arc<TokenMemoryCache> = Arc::clone(&self.tokens);
        config.token_store(tokens);
        let connecting = self
            .endpoint
            .connect_with(config, address, server_name)
            .map_err(|source| Error::Connect { address, source })?;
        let connection = connecting
            .await
            .map_err(|source| Error::Handshake { address, source })?;
        Ok(Connection::accepted(connection))
    }

    /// Waits until the last close has gone out.
    pub async fn wait_idle(&self) {
        self.endpoint.wait_idle().await;
    }
}

fn bind(
    address: SocketAddr,
    quic: &Quic,
    mut endpoint: EndpointConfig,
    server: Option<quinn::ServerConfig>,
) -> Result<quinn::Endpoint, Error> {
    let failed = |source| Error::Bind { address, source };
    // Whoever takes less than it is ready to send keeps the other side's packets small.
    endpoint
        .max_udp_payload_size(quic.max_mtu)
        .expect("the configuration was checked: 1200 bytes or more");
    let socket = socket(address, quic).map_err(failed)?;
    quinn::Endpoint::new(endpoint, server, socket, Arc::new(quinn::TokioRuntime)).map_err(failed)
}

/// A UDP socket with the wished-for buffers; what the kernel grants less is said once, with the remedy.
fn socket(address: SocketAddr, quic: &Quic) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    let wanted = usize::try_from(quic.udp_buffer.as_u64()).unwrap_or(usize::MAX);
    socket.set_recv_buffer_size(wanted)?;
    socket.set_send_buffer_size(wanted)?;
    // Linux grants double of what it counts (socket(7)).
    let granted = socket.recv_buffer_size()? / 2;
    if granted < wanted {
        tracing::warn!(
            wanted,
            granted,
            "the kernel limits UDP buffers; bulk transfers lose speed. Raise it with: \
             sysctl -w net.core.rmem_max={wanted} net.core.wmem_max={wanted}"
        );
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}
