//! QUIC connections to the server.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use ci_tunnel::protocol::ALPN;
use ci_tunnel::transport::connection::Connection;
use ci_tunnel::transport::{endpoint, tls};
use tokio::time::timeout;
use tracing::debug;

use super::error::Error;
use super::server::Server;

/// For each address.
pub(super) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// How long the end of the last connection may take to reach the server.
const SETTLE_DEADLINE: Duration = Duration::from_secs(1);

/// One socket for each address family, kept from attempt to attempt.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    v4: Option<quinn::Endpoint>,
    v6: Option<quinn::Endpoint>,
}

/// The address that is being tried, for whoever asks meanwhile.
pub(super) type Trying = Mutex<Option<SocketAddr>>;

impl Sockets {
    /// One attempt over all addresses but those of `failed`, beginning with any. The last error is the attempt's.
    pub(super) async fn connect(
        &mut self,
        server: &Server,
        failed: &[SocketAddr],
        trying: &Trying,
    ) -> Result<Connection, Error> {
        let mut last = Error::NoAddress {
            host: server.host.clone(),
        };
        for address in addresses(server, failed).await? {
            *trying.lock().expect("nobody panics while holding it") = Some(address);
            match self.attempt(server, address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    debug!(%address, %error, "address failed");
                    last = error;
                }
            }
        }
        Err(last)
    }

    async fn attempt(&mut self, server: &Server, address: SocketAddr) -> Result<Connection, Error> {
        let endpoint = self.endpoint(server, address)?;
        // Made anew each time: a ca_file may have been replaced since.
        let tls = tls::client_config(&server.trust, &[ALPN])?;
        let attempt = endpoint::connect(&endpoint, address, &server.name, &server.quic, tls);
        timeout(HANDSHAKE_DEADLINE, attempt)
            .await
            .map_err(|_| Error::HandshakeLate { address })?
            .map_err(Error::from)
    }

    fn endpoint(&mut self, server: &Server, address: SocketAddr) -> Result<quinn::Endpoint, Error> {
        let slot = if address.is_ipv4() {
            &mut self.v4
        } else {
            &mut self.v6
        };
        if let Some(endpoint) = slot {
            return Ok(endpoint.clone());
        }
        let endpoint = endpoint::client(address, &server.quic)?;
        Ok(slot.insert(endpoint).clone())
    }

    /// Waits until the last close has gone out.
    pub(super) async fn settle(&self) {
        for endpoint in [&self.v4, &self.v6].into_iter().flatten() {
            // Nobody is harmed when it does not: the server then waits out its idle limit.
            let _ = timeout(SETTLE_DEADLINE, endpoint.wait_idle()).await;
        }
    }
}

/// The server's addresses without those of `failed`. Agents spread over the servers that a name stands for.
pub(super) async fn addresses(
    server: &Server,
    failed: &[SocketAddr],
) -> Result<Vec<SocketAddr>, Error> {
    let mut addresses = server.resolve().await?;
    addresses.retain(|address| !failed.contains(address));
    if !addresses.is_empty() {
        let first = rand::random_range(0..addresses.len());
        addresses.rotate_left(first);
    }
    Ok(addresses)
}
