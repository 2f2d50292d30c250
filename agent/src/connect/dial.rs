//! One attempt: a connection by the way that works, and a session on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ci_tunnel::transport::connection::{Connection, Transport};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::error::Error;
use super::pause;
use super::quic::{Sockets, Trying};
use super::race::Race;
use super::server::{Choice, Server};
use super::tcp;
use super::why::Why;
use crate::session::{self, Session, Shared};

/// How long a session was silent, about, when another one is tried beside it.
const INSTEAD: Duration = Duration::from_secs(5);
/// For the last words of connections over TCP.
const SETTLE_DEADLINE: Duration = Duration::from_secs(1);
/// QUIC that comes and goes is tried less and less often, down to one time in so many.
const MOST_DOUBLINGS: u32 = 4;

/// Dials, and knows what worked last.
#[derive(Debug)]
pub(super) struct Dialer {
    server: Server,
    sockets: Sockets,
    /// What drives connections over TCP.
    tasks: TaskTracker,
    /// What an attempt begins with.
    first: Transport,
    /// Why it is not QUIC.
    why: Why,
    /// How often QUIC came back only to be lost again.
    flaps: u32,
}

impl Dialer {
    pub(super) fn new(server: Server) -> Self {
        let first = match server.choice {
            Choice::Http2 => Transport::Http2,
            Choice::Auto | Choice::Quic => Transport::Quic,
        };
        Self {
            server,
            sockets: Sockets::default(),
            tasks: TaskTracker::new(),
            first,
            why: Why::configured(),
            flaps: 0,
        }
    }

    /// One attempt over all ways and addresses; on `leaving`, which the server asks to be left, only when there is no other.
    pub(super) async fn open(
        &mut self,
        shared: &Arc<Shared>,
        leaving: Option<SocketAddr>,
    ) -> Result<Session, Error> {
        if let Some(leaving) = leaving {
            let elsewhere = self.attempt(shared, vec![leaving]).await;
            match elsewhere {
                Ok(session) => return Ok(session),
                Err(error) => debug!(%error, "there is no other server"),
            }
        }
        self.attempt(shared, Vec::new()).await
    }

    /// One attempt over all ways and addresses but those of `failed`. The last error is the attempt's.
    async fn attempt(
        &mut self,
        shared: &Arc<Shared>,
        mut failed: Vec<SocketAddr>,
    ) -> Result<Session, Error> {
        let mut last = None;
        loop {
            let (connection, why) = match self.connect(&failed, shared.pace.get()).await {
                Ok(connected) => connected,
                Err(error) => return Err(last.unwrap_or(error)),
            };
            let (transport, address) = (connection.transport(), connection.remote_address());
            match session::open(connection, shared).await {
                Ok(session) => {
                    self.use_now(transport, why, shared);
                    return Ok(session);
                }
                Err(refused @ session::Error::Refused(_)) => return Err(refused.into()),
                Err(error) => {
                    debug!(%address, %error, "address failed");
                    if failed.contains(&address) {
                        return Err(error.into());
                    }
                    failed.push(address);
                    last = Some(error.into());
                }
            }
        }
    }

    /// A connection, and why it is of its kind.
    async fn connect(
        &mut self,
        failed: &[SocketAddr],
        pace: Duration,
    ) -> Result<(Connection, Why), Error> {
        let trying = Trying::default();
        match self.server.choice {
            Choice::Auto => {
                let race = Race {
                    server: &self.server,
                    tasks: &self.tasks,
                    first: self.first,
                    why: &self.why,
                    failed,
                    pace,
                };
                race.run(&mut self.sockets).await
            }
            Choice::Quic => {
                let quic = self.sockets.connect(&self.server, failed, &trying, pace);
                let connection = quic.await?;
                Ok((connection, Why::configured()))
            }
            Choice::Http2 => {
                let connection = tcp::connect(&self.server, failed, &self.tasks).await?;
                Ok((connection, Why::configured()))
            }
        }
    }

    /// Remembers and tells what carries the connection.
    fn use_now(&mut self, transport: Transport, why: Why, shared: &Shared) {
        self.first = transport;
        shared.metrics.ways.uses(transport, why.label);
        if transport == Transport::Http2 && self.server.choice == Choice::Auto {
            if self.why.label != why.label {
                shared.metrics.ways.fell_back();
            }
            warn!(%why, retry_in = ?self.retry_in(), "requests go over HTTP/2; QUIC is tried again");
        } else {
            info!(%transport, %why, "requests go over this transport");
        }
        self.why = why;
    }

    /// A session to be used in the place of one over `used`: tried until there is one. Over QUIC, if it is not that and
    /// something else is wished for; over anything while it is silent.
    pub(super) async fn better(
        &mut self,
        used: Transport,
        shared: &Arc<Shared>,
        mut silent: watch::Receiver<bool>,
    ) -> Session {
        loop {
            tokio::select! {
                biased;
                // An error means that the session is about to end, which tells more.
                _ = silent.wait_for(|silent| *silent) => {}
                session = self.return_to_quic(used, shared) => return session,
            }
            tokio::select! {
                biased;
                _ = silent.wait_for(|silent| !silent) => {}
                session = self.instead(shared) => return session,
            }
        }
    }

    /// The network may have forgotten the way that the silent session takes, so this one gets a socket of its own.
    async fn instead(&mut self, shared: &Arc<Shared>) -> Session {
        warn!("the server is silent: connecting anew beside the session that there is");
        self.rebuild();
        loop {
            match self.open(shared, None).await {
                Ok(session) => return session,
                Err(error) => debug!(%error, "no other session"),
            }
            sleep(pause::nobody(INSTEAD)).await;
        }
    }

    /// A session over QUIC, if `used` is not that and something else is wished for: tried until it gets through.
    async fn return_to_quic(&mut self, used: Transport, shared: &Arc<Shared>) -> Session {
        if used == Transport::Quic || self.server.choice != Choice::Auto {
            return std::future::pending().await;
        }
        loop {
            sleep(self.retry_in().mul_f64(rand::random_range(0.8..1.2))).await;
            let trying = Trying::default();
            let pace = shared.pace.get();
            let connected = self.sockets.connect(&self.server, &[], &trying, pace).await;
            let opened = match connected {
                Ok(connection) => session::open(connection, shared).await.map_err(Error::from),
                Err(error) => Err(error),
            };
            match opened {
                Ok(session) => {
                    shared.metrics.ways.quic_tried("moved");
                    self.use_now(Transport::Quic, Why::back(), shared);
                    return session;
                }
                Err(error) => {
                    shared.metrics.ways.quic_tried(error.name());
                    debug!(%error, "QUIC still does not get through");
                }
            }
        }
    }

    /// A connection over QUIC to which the agent had come back was lost: the next return is not tried so soon.
    pub(super) fn lost(&mut self, transport: Transport, lived: Duration) {
        let came_back = self.why.is_back() && transport == Transport::Quic;
        if came_back && lived < self.server.quic_retry * 2 {
            self.flaps = (self.flaps + 1).min(MOST_DOUBLINGS);
        } else {
            self.flaps = 0;
        }
    }

    fn retry_in(&self) -> Duration {
        self.server.quic_retry * 2u32.pow(self.flaps)
    }

    /// Lets go of the sockets; the next attempt binds new ones.
    pub(super) fn rebuild(&mut self) {
        self.sockets = Sockets::default();
    }

    /// Waits until the last close has gone out.
    pub(super) async fn settle(&self) {
        self.tasks.close();
        // Nobody is harmed when it does not: the server then waits out its idle limit.
        let _ = timeout(SETTLE_DEADLINE, self.tasks.wait()).await;
        self.sockets.settle().await;
    }
}

/// What one way to the server is like, for a check.
#[derive(Debug)]
pub struct Probed {
    pub transport: Transport,
    pub outcome: Result<Connection, Error>,
}

/// Connects by each way that may be used, and says nothing.
pub async fn probe(server: &Server) -> Vec<Probed> {
    let quic = async {
        let mut sockets = Sockets::default();
        let trying = Trying::default();
        let outcome = sockets.connect(server, &[], &trying, Duration::ZERO).await;
        (Transport::Quic, outcome)
    };
    let tcp = async {
        let outcome = tcp::connect(server, &[], &TaskTracker::new()).await;
        (Transport::Http2, outcome)
    };
    let found = match server.choice {
        Choice::Auto => {
            let (quic, tcp) = tokio::join!(quic, tcp);
            vec![quic, tcp]
        }
        Choice::Quic => vec![quic.await],
        Choice::Http2 => vec![tcp.await],
    };
    let probed = |(transport, outcome)| Probed { transport, outcome };
    found.into_iter().map(probed).collect()
}
