//! The loop that keeps one session with the server: resolve, dial, say hello, serve; and again.

mod dial;
mod error;
mod pause;
mod proxy;
mod quic;
mod race;
mod server;
mod tcp;
mod why;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ci_tunnel::runtime::drain::Notice;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::{error, warn};

use dial::Dialer;
pub use dial::{Probed, probe};
use pause::Pauses;
pub use proxy::{Error as ProxyError, Proxies};
pub use server::{Choice, Server};

use crate::session::{End, Handover, Session, Shared};

/// Why the loop gave up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the server gave no sign of life for {} s, with a new socket too: ending, to be started anew", .0.as_secs())]
    Watchdog(Duration),
}

/// Keeps a session with `server` until `drain` begins and all sessions had their time.
///
/// # Errors
/// No sign of life from the server for twice `watchdog`.
pub async fn run(
    server: Server,
    shared: Arc<Shared>,
    watchdog: Duration,
    drain: Notice,
    connected: impl Fn(bool) + Send + 'static,
) -> Result<(), Error> {
    let mut life = Life {
        connected: Box::new(connected),
        dialer: Dialer::new(server),
        shared,
        pauses: Pauses::new(),
        watchdog,
        proof: Instant::now(),
        rebuilt: false,
        sessions: JoinSet::new(),
    };
    let result = tokio::select! {
        biased;
        () = drain.draining() => Ok(()),
        result = life.keep(&drain) => result,
    };
    while life.sessions.join_next().await.is_some() {}
    life.dialer.settle().await;
    result
}

struct Life {
    connected: Box<dyn Fn(bool) + Send>,
    dialer: Dialer,
    shared: Arc<Shared>,
    pauses: Pauses,
    watchdog: Duration,
    /// When the server last showed that it lives.
    proof: Instant,
    rebuilt: bool,
    /// The session in use, and those that a leaving server still lets end their requests.
    sessions: JoinSet<End>,
}

impl Life {
    async fn keep(&mut self, drain: &Notice) -> Result<(), Error> {
        let mut next = None;
        let mut leaving = None;
        loop {
            let session = match next.take() {
                Some(session) => session,
                None => self.connect(leaving.take()).await?,
            };
            (self.connected)(true);
            let since = Instant::now();
            let (transport, address) = (session.transport(), session.server_address());
            let served = self.serve(session, drain).await;
            self.proof = Instant::now();
            self.rebuilt = false;
            let end = match served {
                Served::Moved(session) => {
                    next = Some(*session);
                    continue;
                }
                Served::Left => {
                    leaving = Some(address);
                    None
                }
                Served::Ended(end) => {
                    self.dialer.lost(transport, since.elapsed());
                    Some(end)
                }
            };
            let pace = self.shared.pace.get();
            let delay = self.pauses.ended(end.as_ref(), since.elapsed(), pace);
            self.wait(delay).await;
        }
    }

    /// Waits, and tells when the last session is gone meanwhile.
    async fn wait(&mut self, delay: Duration) {
        while self.sessions.try_join_next().is_some() {}
        if self.sessions.is_empty() {
            (self.connected)(false);
        }
        sleep(delay).await;
    }

    /// Attempts until one succeeds, elsewhere than at `leaving` if there is an elsewhere.
    async fn connect(&mut self, leaving: Option<SocketAddr>) -> Result<Session, Error> {
        loop {
            let error = match self.dialer.open(&self.shared, leaving).await {
                Ok(session) => {
                    self.shared.metrics.connect_ended("welcome");
                    return Ok(session);
                }
                Err(error) => error,
            };
            self.shared.metrics.connect_ended(error.name());
            if error.shows_life() {
                self.proof = Instant::now();
            }
            let delay = self.pauses.failed(&error, self.proof.elapsed());
            warn!(%error, retry_in = ?delay, "not connected to the server");
            self.wait(delay).await;
            self.watch()?;
        }
    }

    /// First a new socket: the old one may be bound to a path that is gone. Then a new process.
    fn watch(&mut self) -> Result<(), Error> {
        let silent = self.proof.elapsed();
        if silent >= self.watchdog * 2 {
            return Err(Error::Watchdog(silent));
        }
        if silent >= self.watchdog && !self.rebuilt {
            warn!(
                silent_s = silent.as_secs(),
                "no sign of life from the server: taking a new socket"
            );
            self.dialer.rebuild();
            self.rebuilt = true;
        }
        Ok(())
    }

    /// Runs a session until it ends, its server asks to be left, or there is a better one.
    async fn serve(&mut self, session: Session, drain: &Notice) -> Served {
        let handover = Arc::new(Handover::default());
        let silent = handover.silent.subscribe();
        let better = self
            .dialer
            .better(session.transport(), &self.shared, silent);
        tokio::pin!(better);
        let running = session.run(drain.clone(), Arc::clone(&handover));
        let current = self.sessions.spawn(running).id();
        loop {
            tokio::select! {
                biased;
                ended = self.sessions.join_next_with_id() => match ended {
                    Some(Ok((id, end))) if id == current => return Served::Ended(end),
                    Some(Err(failed)) if failed.id() == current => {
                        error!(%failed, "a session's task failed");
                        return Served::Left;
                    }
                    _ => {}
                },
                () = handover.leave.notified() => return Served::Left,
                session = &mut better => {
                    handover.replaced.notify_one();
                    return Served::Moved(Box::new(session));
                }
            }
        }
    }
}

/// Why a session is not the one in use any more.
enum Served {
    Ended(End),
    /// Its server asked to be left; it runs on beside the next one.
    Left,
    /// This one is better; the other runs on until its requests are over.
    Moved(Box<Session>),
}

#[cfg(test)]
mod tests;
