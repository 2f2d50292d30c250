//! The loop that keeps one session with the server: resolve, dial, say hello, serve; and again.

mod dial;
mod error;
mod proxy;
mod quic;
mod race;
mod server;
mod tcp;
mod why;

use std::sync::Arc;
use std::time::Duration;

use ci_tunnel::protocol::code::Code;
use ci_tunnel::runtime::backoff::{Backoff, Delays};
use ci_tunnel::runtime::drain::Notice;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use dial::Dialer;
pub use dial::{Probed, probe};
pub use proxy::{Error as ProxyError, Proxies};
pub use server::{Choice, Server};

use crate::session::{self, End, Handover, Session, Shared};

/// Delays between failed attempts.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// A session that lived for so long says that the next attempt need not wait.
const STEADY: Duration = Duration::from_secs(10);
/// What waits for a person (a new token) is tried again no sooner than this.
const SLOW: Duration = Duration::from_secs(30);
/// A server whose machine answers for it is back soon, and asking costs it nothing.
const RESTART: Duration = Duration::from_secs(1);
/// Agents that lost the same server do not all come back in the same moment.
const SPREAD: Duration = Duration::from_millis(100);

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
        backoff: backoff(),
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
    backoff: Delays,
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
        loop {
            let session = match next.take() {
                Some(session) => session,
                None => self.connect().await?,
            };
            (self.connected)(true);
            let since = Instant::now();
            let transport = session.transport();
            let served = self.serve(session, drain).await;
            self.proof = Instant::now();
            self.rebuilt = false;
            let end = match served {
                Served::Moved(session) => {
                    next = Some(*session);
                    continue;
                }
                Served::Left => None,
                Served::Ended(end) => {
                    self.dialer.lost(transport, since.elapsed());
                    Some(end)
                }
            };
            if since.elapsed() >= STEADY {
                self.backoff.reset();
            }
            let delay = self.after(end.as_ref(), since.elapsed());
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

    /// Attempts until one succeeds.
    async fn connect(&mut self) -> Result<Session, Error> {
        loop {
            let error = match self.dialer.open(&self.shared).await {
                Ok(session) => {
                    self.shared.metrics.connect_ended("welcome");
                    return Ok(session);
                }
                Err(error) => error,
            };
            self.shared.metrics.connect_ended(error.name());
            let delay = self.delay(&error);
            warn!(%error, retry_in = ?delay, "not connected to the server");
            self.wait(delay).await;
            self.watch()?;
        }
    }

    fn delay(&mut self, failed: &error::Error) -> Duration {
        let delay = self.backoff.next_delay();
        if failed.nobody_listens() {
            return delay.min(RESTART);
        }
        let error::Error::Session(failed) = failed else {
            return delay;
        };
        let asked = if let session::Error::Refused(refused) = failed {
            // A server that says no lives.
            self.proof = Instant::now();
            refused.retry_after
        } else {
            Duration::ZERO
        };
        if failed.code().is_some_and(waits_for_a_person) {
            self.proof = Instant::now();
            error!(error = %failed, "the server does not admit this agent: it needs another token");
            return asked.max(SLOW);
        }
        delay.max(asked)
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
        let better = self.dialer.better(session.transport(), &self.shared);
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

    fn after(&mut self, end: Option<&End>, lived: Duration) -> Duration {
        let spread = SPREAD.mul_f64(rand::random());
        match end {
            Some(End::Lost(closed)) if waits_for_a_person(closed.code) => {
                error!(code = closed.code.name(), reason = %closed.reason, "the server put this agent out");
                // Its token was revoked, most likely because another one lies there by now. A refusal waits longer.
                self.backoff.next_delay()
            }
            Some(End::Lost(closed)) if closed.code != Code::Restarting && lived < STEADY => {
                self.backoff.next_delay()
            }
            _ => {
                info!("connecting again");
                spread
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

fn backoff() -> Delays {
    let backoff = Backoff::new(BACKOFF_MIN, BACKOFF_MAX, 2.0, 0.5);
    backoff.expect("the constants are in range").delays()
}

fn waits_for_a_person(code: Code) -> bool {
    matches!(code, Code::TokenRejected | Code::AgentDeleted)
}

#[cfg(test)]
mod tests;
