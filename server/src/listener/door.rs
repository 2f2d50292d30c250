//! The two ways in for agents: QUIC, and TLS over TCP for networks that block UDP.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ci_tunnel::config::net::Quic;
use ci_tunnel::protocol::code::Code;
use ci_tunnel::protocol::{ALPN, ALPN_HTTP2};
use ci_tunnel::transport::connection::{Connection, Transport};
use ci_tunnel::transport::endpoint::{self, Keys};
use ci_tunnel::transport::tls::ServerIdentity;
use ci_tunnel::transport::{http2, tcp};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::admit;
use super::turns::Turns;
use crate::metrics::{Metrics, OutcomeLabels};

/// QUIC handshakes at a time.
const HANDSHAKES: usize = 64;
/// Agents that wait for one of these places.
const WAITING: usize = 1024;
/// Waiting agents beyond which addresses must prove themselves (RFC 9000, section 8.1).
const VALIDATE_FROM: usize = 32;
/// Who waited longer is sent away: it has asked again since, or has given up.
const STALE: Duration = Duration::from_secs(2);
/// The same over TCP, where whoever says nothing costs only a socket, and for a shorter time.
const TCP_HANDSHAKES: usize = 256;
/// For TLS over TCP.
const TLS: Duration = Duration::from_secs(5);
/// For close frames and last words to leave.
const CLOSE: Duration = Duration::from_secs(1);
/// For another free port, where any will do and one is free for UDP alone.
const PORTS: usize = 32;

/// The sockets that agents connect to: one port number, UDP and TCP.
#[derive(Debug)]
pub struct Door {
    quic: quinn::Endpoint,
    tcp: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    settings: Quic,
    quic_handshakes: Arc<Semaphore>,
    tcp_handshakes: Arc<Semaphore>,
    /// Agents for which there is no place yet, and since when.
    waiting: VecDeque<(Instant, quinn::Incoming)>,
    turns: Turns,
    handshakes: Family<OutcomeLabels, Counter>,
    /// What drives connections over TCP.
    tasks: TaskTracker,
}

/// A door that is shut: those that came in are still there.
#[derive(Debug)]
pub(super) struct Leaving {
    quic: quinn::Endpoint,
    tasks: TaskTracker,
}

/// An agent at the door.
#[derive(Debug)]
pub(super) struct Visitor {
    incoming: Incoming,
    pub(super) address: SocketAddr,
    pub(super) handshake: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Incoming {
    Quic(Box<quinn::Incoming>),
    Tcp {
        stream: TcpStream,
        tls: Arc<rustls::ServerConfig>,
        settings: Quic,
        tasks: TaskTracker,
    },
}

impl Door {
    /// Binds `address` for UDP and TCP.
    ///
    /// # Errors
    /// It can not be bound, or the certificate is of no use.
    pub async fn bind(
        address: SocketAddr,
        quic: &Quic,
        identity: &ServerIdentity,
        keys: &Keys,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let (endpoint, tcp) = sockets(address, quic, identity, keys).await?;
        Ok(Self {
            quic: endpoint,
            tcp,
            tls: identity.quic_config(&[ALPN_HTTP2])?,
            settings: quic.clone(),
            quic_handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
            tcp_handshakes: Arc::new(Semaphore::new(TCP_HANDSHAKES)),
            waiting: VecDeque::new(),
            turns: Turns::new(),
            handshakes: metrics.agent_handshakes.clone(),
            tasks: TaskTracker::new(),
        })
    }

    /// The address of both.
    ///
    /// # Errors
    /// The socket does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.quic.local_addr()
    }

    /// The next agent; `None` when there will be no more. Losing a race loses nobody.
    pub(super) async fn next(&mut self) -> Option<Visitor> {
        loop {
            let visitor = tokio::select! {
                incoming = self.quic.accept() => {
                    self.queue(incoming?);
                    continue;
                }
                handshake = place(&self.quic_handshakes, &self.turns), if !self.waiting.is_empty() => {
                    self.first_in_line(handshake?)
                }
                visitor = self.over_tcp() => visitor,
            };
            if visitor.is_some() {
                self.turns.taken();
                return visitor;
            }
        }
    }

    /// Who finds too many waiting is asked to prove its address, or sent away.
    fn queue(&mut self, incoming: quinn::Incoming) {
        if self.waiting.len() >= WAITING {
            self.count("refused");
            incoming.refuse();
        } else if self.waiting.len() >= VALIDATE_FROM && incoming.may_retry() {
            self.count("retry");
            // An error only says that the packet was no longer of use.
            let _ = incoming.retry();
        } else {
            self.waiting.push_back((Instant::now(), incoming));
        }
    }

    fn first_in_line(&mut self, handshake: OwnedSemaphorePermit) -> Option<Visitor> {
        while let Some((since, incoming)) = self.waiting.pop_front() {
            if since.elapsed() > STALE {
                self.count("stale");
                incoming.refuse();
                continue;
            }
            return Some(Visitor {
                address: incoming.remote_address(),
                incoming: Incoming::Quic(Box::new(incoming)),
                handshake,
            });
        }
        None
    }

    /// Who finds all places taken waits in the kernel's queue.
    async fn over_tcp(&self) -> Option<Visitor> {
        let handshake = place(&self.tcp_handshakes, &self.turns).await?;
        match self.tcp.accept().await {
            Ok((stream, address)) => Some(Visitor {
                incoming: Incoming::Tcp {
                    stream,
                    tls: Arc::clone(&self.tls),
                    settings: self.settings.clone(),
                    tasks: self.tasks.clone(),
                },
                address,
                handshake,
            }),
            Err(error) => {
                tracing::error!(%error, "an agent's TCP connection could not be accepted");
                // No file handles left, most often: accepting at once again would only spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
                None
            }
        }
    }

    fn count(&self, outcome: &'static str) {
        let labels = OutcomeLabels { outcome };
        self.handshakes.get_or_create(&labels).inc();
    }
    /// Lets nobody in any more.
    pub(super) fn shut(self) -> Leaving {
        Leaving {
            quic: self.quic,
            tasks: self.tasks,
        }
    }
}

impl Leaving {
    /// Says nothing to agents that come now, so that they find another server, or the next one here. Never ends.
    pub(super) async fn ignore(&self) {
        while let Some(incoming) = self.quic.accept().await {
            incoming.ignore();
        }
        std::future::pending().await
    }

    /// Closes every connection over QUIC, and waits until all have heard of their end.
    pub(super) async fn close(self) {
        self.quic
            .close(Code::Restarting.into(), b"the server is shutting down");
        self.tasks.close();
        let left = async {
            tokio::join!(self.quic.wait_idle(), self.tasks.wait());
        };
        // Whoever has not heard by then waits out its idle limit.
        let _ = tokio::time::timeout(CLOSE, left).await;
    }
}

impl Visitor {
    pub(super) fn transport(&self) -> Transport {
        match self.incoming {
            Incoming::Quic(_) => Transport::Quic,
            Incoming::Tcp { .. } => Transport::Http2,
        }
    }

    /// Ends the handshake. The place among the handshakes is given back with the permit that comes along.
    pub(super) async fn enter(self) -> Result<(Connection, OwnedSemaphorePermit), admit::Error> {
        let connection = match self.incoming {
            Incoming::Quic(incoming) => Connection::accepted((*incoming).await?),
            Incoming::Tcp {
                stream,
                tls,
                settings,
                tasks,
            } => {
                tcp::tune(&stream);
                let handshake = tokio::time::timeout(TLS, tcp::accept(stream, tls));
                let stream = handshake.await.map_err(|_| admit::Error::Deadline)??;
                http2::to_agent(stream, self.address, &settings, &tasks).await?
            }
        };
        Ok((connection, self.handshake))
    }
}

/// A place among the handshakes, and its turn.
async fn place(places: &Arc<Semaphore>, turns: &Turns) -> Option<OwnedSemaphorePermit> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    turns.next().await;
    Some(place)
}

async fn sockets(
    address: SocketAddr,
    quic: &Quic,
    identity: &ServerIdentity,
    keys: &Keys,
) -> anyhow::Result<(quinn::Endpoint, TcpListener)> {
    let mut tries = if address.port() == 0 { PORTS } else { 1 };
    loop {
        let tls = identity.quic_config(&[ALPN])?;
        let endpoint = endpoint::server(address, quic, tls, keys)?;
        let bound = endpoint.local_addr()?;
        tries -= 1;
        match TcpListener::bind(bound).await {
            Ok(tcp) => return Ok((endpoint, tcp)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            Err(error) => return Err(error).with_context(|| format!("TCP {bound}")),
        }
    }
}
