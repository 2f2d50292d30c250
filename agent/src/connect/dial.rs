//! One attempt: names to addresses, addresses to a QUIC connection, the connection to a session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ci_tunnel::config::net::Quic;
use ci_tunnel::protocol::ALPN;
use ci_tunnel::protocol::code::Code;
use ci_tunnel::transport::endpoint::{self, Connection};
use ci_tunnel::transport::tls::{self, Trust};
use tokio::time::timeout;
use tracing::debug;

use crate::session::{self, Session, Shared};

const RESOLVE_DEADLINE: Duration = Duration::from_secs(5);
/// For each address.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// How long the end of the last connection may take to reach the server.
const SETTLE_DEADLINE: Duration = Duration::from_secs(1);

/// The server to connect to.
#[derive(Debug, Clone)]
pub struct Server {
    pub host: String,
    pub port: u16,
    /// The name that its certificate must carry.
    pub name: String,
    pub trust: Trust,
    pub quic: Quic,
}

/// Why an attempt gave no session.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("DNS: {host}: {source}")]
    Resolve {
        host: String,
        source: std::io::Error,
    },
    #[error("DNS gave no answer for {host} in {} s", RESOLVE_DEADLINE.as_secs())]
    ResolveLate { host: String },
    #[error("DNS knows no address of {host}")]
    NoAddress { host: String },
    #[error("trust in the server: {0}")]
    Trust(#[from] tls::Error),
    #[error(transparent)]
    Endpoint(#[from] endpoint::Error),
    #[error("no QUIC connection to {address} in {} s: does UDP to it get through?", HANDSHAKE_DEADLINE.as_secs())]
    HandshakeLate { address: SocketAddr },
    #[error(transparent)]
    Session(#[from] session::Error),
}

impl Error {
    /// Its name in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Resolve { .. } | Self::ResolveLate { .. } | Self::NoAddress { .. } => "dns",
            Self::Endpoint(_) | Self::Trust(_) => "handshake",
            Self::HandshakeLate { .. } => "timeout",
            Self::Session(error) => error.code().map_or("hello", Code::name),
        }
    }
}

/// Dials; keeps one socket for each address family.
#[derive(Debug)]
pub(super) struct Dialer {
    server: Server,
    v4: Option<quinn::Endpoint>,
    v6: Option<quinn::Endpoint>,
}

impl Dialer {
    pub(super) fn new(server: Server) -> Self {
        Self {
            server,
            v4: None,
            v6: None,
        }
    }

    /// One attempt over all addresses. The last error is the attempt's.
    pub(super) async fn open(&mut self, shared: &Arc<Shared>) -> Result<Session, Error> {
        let mut addresses = resolve(&self.server).await?;
        // Agents spread over the servers that a name stands for.
        let first = rand::random_range(0..addresses.len());
        addresses.rotate_left(first);
        let mut last = Error::NoAddress {
            host: self.server.host.clone(),
        };
        for address in addresses {
            match self.try_address(address, shared).await {
                Ok(session) => return Ok(session),
                Err(refused @ Error::Session(session::Error::Refused(_))) => return Err(refused),
                Err(error) => {
                    debug!(%address, %error, "address failed");
                    last = error;
                }
            }
        }
        Err(last)
    }

    async fn try_address(
        &mut self,
        address: SocketAddr,
        shared: &Arc<Shared>,
    ) -> Result<Session, Error> {
        let connection = connect(self.endpoint(address)?, &self.server, address).await?;
        Ok(session::open(connection, shared).await?)
    }

    fn endpoint(&mut self, address: SocketAddr) -> Result<quinn::Endpoint, Error> {
        let slot = if address.is_ipv4() {
            &mut self.v4
        } else {
            &mut self.v6
        };
        if let Some(endpoint) = slot {
            return Ok(endpoint.clone());
        }
        let endpoint = endpoint::client(address, &self.server.quic)?;
        Ok(slot.insert(endpoint).clone())
    }

    /// Lets go of the sockets; the next attempt binds new ones.
    pub(super) fn rebuild(&mut self) {
        self.v4 = None;
        self.v6 = None;
    }

    /// Waits until the last close has gone out.
    pub(super) async fn settle(&self) {
        for endpoint in [&self.v4, &self.v6].into_iter().flatten() {
            // Nobody is harmed when it does not: the server then waits out its idle limit.
            let _ = timeout(SETTLE_DEADLINE, endpoint.wait_idle()).await;
        }
    }
}

/// Connects and says nothing, for a check.
///
/// # Errors
/// As an attempt's.
pub async fn probe(server: &Server) -> Result<(SocketAddr, Connection), Error> {
    let mut last = Error::NoAddress {
        host: server.host.clone(),
    };
    for address in resolve(server).await? {
        match connect(endpoint::client(address, &server.quic)?, server, address).await {
            Ok(connection) => return Ok((address, connection)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The server's addresses.
///
/// # Errors
/// There are none, or not in time.
pub async fn resolve(server: &Server) -> Result<Vec<SocketAddr>, Error> {
    let host = || server.host.clone();
    let resolve = tokio::net::lookup_host((server.host.as_str(), server.port));
    let addresses: Vec<_> = match timeout(RESOLVE_DEADLINE, resolve).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(source)) => {
            return Err(Error::Resolve {
                host: host(),
                source,
            });
        }
        Err(_) => return Err(Error::ResolveLate { host: host() }),
    };
    if addresses.is_empty() {
        Err(Error::NoAddress { host: host() })
    } else {
        Ok(addresses)
    }
}

async fn connect(
    endpoint: quinn::Endpoint,
    server: &Server,
    address: SocketAddr,
) -> Result<Connection, Error> {
    // Made anew each time: a ca_file may have been replaced since.
    let tls = tls::client_config(&server.trust, &[ALPN])?;
    let attempt = endpoint::connect(&endpoint, address, &server.name, &server.quic, tls);
    timeout(HANDSHAKE_DEADLINE, attempt)
        .await
        .map_err(|_| Error::HandshakeLate { address })?
        .map_err(Error::from)
}
