//! QUIC connections to the server.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ci_tunnel::protocol::ALPN;
use ci_tunnel::transport::connection::Connection;
use ci_tunnel::transport::endpoint::{self, Client};
use ci_tunnel::transport::{tcp, tls};
use rand::seq::SliceRandom as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use super::error::Error;
use super::server::Server;

/// For all addresses together.
pub(super) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Between the first attempts on one address and the next (RFC 8305).
const NEXT: Duration = Duration::from_millis(250);
/// Between attempts on the same address, as long as nothing comes back: QUIC itself repeats a first packet after 1, 3 and 7 s,
/// and a server that came up in between would wait for that.
const AGAIN: Duration = Duration::from_millis(500);
/// How long the end of the last connection may take to reach the server.
const SETTLE_DEADLINE: Duration = Duration::from_secs(1);

/// One socket for each address family, kept from attempt to attempt.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    v4: Option<Client>,
    v6: Option<Client>,
}

/// The address that is being tried, for whoever asks meanwhile.
pub(super) type Trying = Mutex<Option<SocketAddr>>;

/// An address to connect to, and when that is tried next.
struct Target {
    address: SocketAddr,
    client: Client,
    next: Instant,
}

impl Sockets {
    /// Connects to the address that answers first, of all but those of `failed`: one after the other without waiting long for
    /// any, and each again while it is silent. The last error is the attempt's. `pace` is long where there are many agents.
    pub(super) async fn connect(
        &mut self,
        server: &Server,
        failed: &[SocketAddr],
        trying: &Trying,
        pace: Duration,
    ) -> Result<Connection, Error> {
        // Made anew each time: a ca_file may have been replaced since.
        let tls = tls::client_config(&server.trust, &[ALPN])?;
        let begin = Instant::now();
        let mut last = Error::NoAddress {
            host: server.host.clone(),
        };
        let mut targets = Vec::new();
        for (turn, address) in addresses(server, failed).await?.into_iter().enumerate() {
            match self.client(server, address) {
                Ok(client) => targets.push(Target {
                    address,
                    client,
                    next: begin + NEXT * u32::try_from(turn).unwrap_or(u32::MAX),
                }),
                Err(error) => last = error,
            }
        }
        let mut attempts = JoinSet::new();
        while let Some(next) = targets.iter_mut().min_by_key(|target| target.next) {
            tokio::select! {
                biased;
                Some(Ok((address, ended))) = attempts.join_next() => match ended {
                    Ok(connection) => return Ok(connection),
                    Err(error) => {
                        debug!(%address, %error, "address failed");
                        last = error;
                        targets.retain(|target| target.address != address);
                        // Whatever is next need not wait for it.
                        targets.iter_mut().for_each(|target| target.next = target.next.min(Instant::now()));
                    }
                },
                () = sleep_until(begin + HANDSHAKE_DEADLINE) => {
                    return Err(Error::HandshakeLate { address: next.address });
                }
                () = sleep_until(next.next) => {
                    next.next += AGAIN.max(pace);
                    *trying.lock().expect("nobody panics while holding it") = Some(next.address);
                    attempts.spawn(next.attempt(server, &tls));
                }
            }
        }
        Err(last)
    }

    fn client(&mut self, server: &Server, address: SocketAddr) -> Result<Client, Error> {
        let slot = if address.is_ipv4() {
            &mut self.v4
        } else {
            &mut self.v6
        };
        if let Some(client) = slot {
            return Ok(client.clone());
        }
        let client = endpoint::client(address, &server.quic)?;
        Ok(slot.insert(client).clone())
    }

    /// Waits until the last close has gone out.
    pub(super) async fn settle(&self) {
        for client in [&self.v4, &self.v6].into_iter().flatten() {
            // Nobody is harmed when it does not: the server then waits out its idle limit.
            let _ = timeout(SETTLE_DEADLINE, client.wait_idle()).await;
        }
    }
}

impl Target {
    fn attempt(
        &self,
        server: &Server,
        tls: &Arc<rustls::ClientConfig>,
    ) -> impl Future<Output = (SocketAddr, Result<Connection, Error>)> + use<> {
        let (address, client, tls) = (self.address, self.client.clone(), Arc::clone(tls));
        let (name, quic) = (server.name.clone(), server.quic.clone());
        async move {
            let connected = client.connect(address, &name, &quic, tls).await;
            (address, connected.map_err(Error::from))
        }
    }
}

/// The server's addresses without those of `failed`, the family first that the system prefers. Agents spread over the servers
/// that a name stands for.
pub(super) async fn addresses(
    server: &Server,
    failed: &[SocketAddr],
) -> Result<Vec<SocketAddr>, Error> {
    let mut addresses = server.resolve().await?;
    addresses.retain(|address| !failed.contains(address));
    let Some(preferred) = addresses.first().map(SocketAddr::is_ipv4) else {
        return Ok(addresses);
    };
    addresses.shuffle(&mut rand::rng());
    addresses.sort_by_key(|address| address.is_ipv4() != preferred);
    Ok(tcp::in_turn(&addresses))
}
