//! Both ways to the server at once, the one that worked last a second ahead; the first that is there is taken.

use std::net::SocketAddr;
use std::time::Duration;

use ci_tunnel::transport::connection::{Connection, Transport};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use super::error::Error;
use super::pause;
use super::quic::{Sockets, Trying};
use super::server::Server;
use super::tcp;
use super::why::Why;

/// What the preferred way has before the other one is tried beside it.
const HEAD_START: Duration = Duration::from_secs(1);
/// One race.
pub(super) struct Race<'a> {
    pub(super) server: &'a Server,
    pub(super) tasks: &'a TaskTracker,
    pub(super) first: Transport,
    /// Why the first is not QUIC, if it is not.
    pub(super) why: &'a Why,
    /// Addresses to leave out.
    pub(super) failed: &'a [SocketAddr],
    /// Long where there are many agents.
    pub(super) pace: Duration,
}

/// A connection over TCP.
struct Arrived {
    connection: Connection,
    /// Nobody had listened before.
    late: bool,
}

impl Race<'_> {
    /// A connection, and why it is of its kind.
    pub(super) async fn run(&self, sockets: &mut Sockets) -> Result<(Connection, Why), Error> {
        let trying = Trying::default();
        let (arrived, quic_error) = match self.compete(sockets, &trying).await? {
            Winner::Quic(connection) => return Ok((connection, Why::preferred())),
            Winner::Tcp(arrived, quic_error) => (arrived, quic_error),
        };
        let quic_first = self.first == Transport::Quic;
        // The server came up just now. How long that took says nothing of the network: QUIC has its head start anew.
        if quic_first && arrived.late {
            let quic = sockets.connect(self.server, self.failed, &trying, self.pace);
            match timeout(HEAD_START, quic).await {
                Ok(Ok(connection)) => return Ok((connection, Why::preferred())),
                Ok(Err(error)) if error.is_busy() => return Err(error),
                _ => {}
            }
        }
        let why = match &quic_error {
            Some(error) => Why::failed(error),
            None if quic_first => Why::no_handshake(self.server, &trying, HEAD_START),
            None => self.why.clone(),
        };
        Ok((arrived.connection, why))
    }

    async fn compete(&self, sockets: &mut Sockets, trying: &Trying) -> Result<Winner, Error> {
        let quic_first = self.first == Transport::Quic;
        let (no_quic, no_tcp) = (watch::Sender::new(false), watch::Sender::new(false));
        let quic = async {
            head_start(!quic_first, &no_tcp).await;
            sockets
                .connect(self.server, self.failed, trying, self.pace)
                .await
        };
        let tcp = async {
            head_start(quic_first, &no_quic).await;
            self.over_tcp(&no_quic).await
        };
        tokio::pin!(quic, tcp);
        let (mut quic_error, mut tcp_error) = (None, None);
        loop {
            tokio::select! {
                biased;
                connected = &mut quic, if quic_error.is_none() => match connected {
                    Ok(connection) => return Ok(Winner::Quic(connection)),
                    // Its answer came by UDP.
                    Err(error) if error.is_busy() => return Err(error),
                    Err(error) => {
                        quic_error = Some(error);
                        no_quic.send_replace(true);
                    }
                },
                connected = &mut tcp, if tcp_error.is_none() => match connected {
                    Ok(arrived) => return Ok(Winner::Tcp(arrived, quic_error)),
                    Err(error) => {
                        tcp_error = Some(error);
                        no_tcp.send_replace(true);
                    }
                },
                else => break,
            }
        }
        let unknown = || Error::NoAddress {
            host: self.server.host.clone(),
        };
        Err(Error::Neither {
            quic: Box::new(quic_error.unwrap_or_else(unknown)),
            tcp: Box::new(tcp_error.unwrap_or_else(unknown)),
        })
    }

    /// Attempts again while nobody listens and QUIC may still come to something: a server that restarts refuses TCP at once,
    /// and QUIC would take its whole deadline to see that.
    async fn over_tcp(&self, no_quic: &watch::Sender<bool>) -> Result<Arrived, Error> {
        let mut late = false;
        let begin = Instant::now();
        loop {
            match tcp::connect(self.server, self.failed, self.tasks).await {
                Ok(connection) => return Ok(Arrived { connection, late }),
                Err(error) if error.nobody_listens() => {
                    late = true;
                    if failed_within(pause::nobody(begin.elapsed()), no_quic).await {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

enum Winner {
    Quic(Connection),
    /// And how QUIC had failed before, if it had.
    Tcp(Arrived, Option<Error>),
}

/// Lets the other way go ahead, until it fails or its time is over.
async fn head_start(other_is_ahead: bool, other_failed: &watch::Sender<bool>) {
    if other_is_ahead {
        failed_within(HEAD_START, other_failed).await;
    }
}

async fn failed_within(time: Duration, failed: &watch::Sender<bool>) -> bool {
    let mut failed = failed.subscribe();
    timeout(time, failed.wait_for(|failed| *failed))
        .await
        .is_ok()
}
