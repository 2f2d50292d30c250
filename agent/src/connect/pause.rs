//! How long to wait before the next attempt to connect.

use std::time::Duration;

use ci_tunnel::protocol::code::Code;
use ci_tunnel::runtime::backoff::{Backoff, Delays};
use tracing::{error, info};

use super::error::Error;
use crate::session::{self, End};

/// Delays between failed attempts.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// The longest while the server says that it is busy: it takes agents in by the hundred each second.
const BUSY_MAX: Duration = Duration::from_secs(5);
/// A session that lived for so long says that the next attempt need not wait.
const STEADY: Duration = Duration::from_secs(10);
/// What waits for a person (a new token) is tried again no sooner than this.
const SLOW: Duration = Duration::from_secs(30);
/// For so long a server from which nothing comes is taken to be about to come back.
const BRIEF: Duration = Duration::from_secs(120);
/// Agents that lost the same server do not all come back in the same moment.
const SPREAD: Duration = Duration::from_millis(100);
/// Between attempts on a port on which nobody listens: asking costs nothing, and the server is back soon.
const NOBODY: (Duration, Duration) = (Duration::from_millis(150), Duration::from_secs(1));

/// The delays of one agent.
#[derive(Debug)]
pub(super) struct Pauses {
    backoff: Delays,
}

impl Pauses {
    pub(super) fn new() -> Self {
        let backoff = Backoff::new(BACKOFF_MIN, BACKOFF_MAX, 2.0, 0.5);
        Self {
            backoff: backoff.expect("the constants are in range").delays(),
        }
    }

    /// After an attempt that failed, and `silent` since the server's last sign of life.
    pub(super) fn failed(&mut self, failed: &Error, silent: Duration) -> Duration {
        if failed.nobody_listens() {
            return nobody(silent);
        }
        if failed.is_silence() && silent < BRIEF {
            return SPREAD.mul_f64(rand::random());
        }
        let delay = self.backoff.next_delay();
        let Error::Session(session) = failed else {
            return if failed.is_busy() {
                delay.min(some_of(BUSY_MAX))
            } else {
                delay
            };
        };
        let asked = match session {
            session::Error::Refused(refused) => refused.retry_after,
            _ => Duration::ZERO,
        };
        if session.code().is_some_and(Code::waits_for_a_person) {
            error!(error = %session, "the server does not admit this agent: it needs another token");
            return asked.max(SLOW);
        }
        delay.max(asked)
    }

    /// After a session that lived for so long; `None`: its server asked to be left. `pace` is long where there are many
    /// agents.
    pub(super) fn ended(&mut self, end: Option<&End>, lived: Duration, pace: Duration) -> Duration {
        if lived >= STEADY {
            self.backoff.reset();
        }
        match end {
            Some(End::Lost(closed)) if closed.code.waits_for_a_person() => {
                error!(code = closed.code.name(), reason = %closed.reason, "the server put this agent out");
                // Its token was revoked, most likely because another one lies there by now. A refusal waits longer.
                self.backoff.next_delay()
            }
            Some(End::Lost(closed)) if closed.code != Code::Restarting && lived < STEADY => {
                self.backoff.next_delay()
            }
            _ => {
                info!("connecting again");
                SPREAD.max(pace / 5).mul_f64(rand::random())
            }
        }
    }
}

/// Between attempts on a port on which nobody listens, after so long: soon enough to be there within a second of the server.
pub(super) fn nobody(silent: Duration) -> Duration {
    let (least, most) = NOBODY;
    some_of((silent / 8).clamp(least, most))
}

fn some_of(time: Duration) -> Duration {
    time.mul_f64(rand::random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use ci_tunnel::protocol::control::Refused;
    use ci_tunnel::transport::connection::Closed;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn refused(code: Code, retry_after: Duration) -> Error {
        session::Error::Refused(Refused {
            code,
            message: String::new(),
            retry_after,
        })
        .into()
    }

    fn silence() -> Error {
        Error::HandshakeLate {
            address: ([127, 0, 0, 1], 1).into(),
        }
    }

    fn lost(code: Code) -> End {
        End::Lost(Closed {
            code,
            reason: String::new(),
            said: true,
        })
    }

    #[test]
    fn a_server_that_is_away_shortly_is_asked_often() {
        let mut pauses = Pauses::new();
        for silent in [0, 1, 10, 100] {
            assert!(pauses.failed(&silence(), silent * SECOND) <= SPREAD);
        }
        assert!(pauses.failed(&silence(), BRIEF) >= BACKOFF_MIN / 2);
        assert!(nobody(Duration::ZERO) <= NOBODY.0);
        assert!((0..100).all(|_| nobody(BRIEF) <= SECOND));
    }

    #[test]
    fn what_the_server_asks_for_is_obeyed() {
        let mut pauses = Pauses::new();
        let busy = refused(Code::Overloaded, 7 * SECOND);
        assert_eq!(pauses.failed(&busy, SECOND), 7 * SECOND);
        let void = refused(Code::TokenRejected, SECOND);
        assert_eq!(pauses.failed(&void, SECOND), SLOW);
    }

    #[test]
    fn a_restart_costs_nobody_a_delay() {
        let mut pauses = Pauses::new();
        let restarting = lost(Code::Restarting);
        assert!(pauses.ended(Some(&restarting), SECOND, SECOND / 2) <= SPREAD);
        // Where there are thousands, they come one after the other.
        let many = (0..100).map(|_| pauses.ended(None, SECOND, 5 * SECOND));
        assert!(
            many.max()
                .is_some_and(|most| most > SPREAD && most <= SECOND)
        );
        let broken = lost(Code::Protocol);
        assert!(pauses.ended(Some(&broken), SECOND, SECOND) >= BACKOFF_MIN / 2);
    }
}
