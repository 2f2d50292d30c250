//! Pings of one session, and what an agent's silence says.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::agents::Session;

/// An agent that says nothing is asked after so long. Most say something before: they ping as often as they are told.
const EVERY: Duration = Duration::from_secs(15);
/// After so long without an answer the agent's other sessions are preferred; that costs nothing, so it may be soon.
const DOUBT: Duration = Duration::from_millis(500);
/// After so long the session is given up if the agent has a newer one: its process was killed, most often, and whoever waits
/// on it would wait for the idle limit.
const GIVE_UP: Duration = Duration::from_secs(5);
/// Between pings of one agent. That is how soon it learns that its server was started again, so it is short as long as all
/// agents' pings together are few.
const PACE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// Sessions for which the shortest will do.
const FEW: usize = 500;

/// How often agents are to ping, where there are so many sessions. It doubles, so that they need not be told at each arrival.
pub(super) fn pace(sessions: usize) -> Duration {
    let times = sessions.div_ceil(FEW).max(1).next_power_of_two();
    let times = u32::try_from(times).unwrap_or(u32::MAX);
    PACE.0.saturating_mul(times).min(PACE.1)
}

/// What is due.
#[derive(Debug)]
pub(super) enum Due {
    /// To send a ping of this number.
    Ping(u64),
    /// To prefer other sessions.
    Doubt,
    /// To end the session.
    GiveUp,
}

/// When to ping a session's agent, and since when it is silent.
#[derive(Debug)]
pub(super) struct Pings {
    every: Duration,
    sequence: u64,
    heard: Instant,
    pinged: Instant,
    /// When the first unanswered ping was sent.
    asked: Option<Instant>,
    doubted: bool,
    /// A newer session came since the agent was last heard of.
    superseded: bool,
}

impl Pings {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            every: EVERY,
            sequence: 0,
            heard: now,
            pinged: now,
            asked: None,
            doubted: false,
            superseded: false,
        }
    }

    /// The agent was told to ping so often: when it is late it is asked.
    pub(super) fn expect_every(&mut self, pace: Duration) {
        self.every = (pace * 2).min(EVERY);
    }

    /// Waits for what is due. Losing a race loses nothing.
    pub(super) async fn next(&mut self, session: &Session) -> Due {
        let silent = self.deadline();
        let silence = async {
            match silent {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = session.superseded() => {
                self.superseded = true;
                self.ping()
            }
            () = silence => if self.doubted {
                Due::GiveUp
            } else {
                self.doubted = true;
                Due::Doubt
            },
            () = sleep_until(self.heard.max(self.pinged) + self.every) => self.ping(),
        }
    }

    /// The agent lives.
    pub(super) fn heard(&mut self) {
        self.heard = Instant::now();
        self.asked = None;
        self.doubted = false;
        self.superseded = false;
    }

    fn ping(&mut self) -> Due {
        self.pinged = Instant::now();
        self.asked.get_or_insert(self.pinged);
        self.sequence += 1;
        Due::Ping(self.sequence)
    }

    fn deadline(&self) -> Option<Instant> {
        match self.asked? {
            asked if !self.doubted => Some(asked + DOUBT),
            asked if self.superseded => Some(asked + GIVE_UP),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_agents_ping_often_and_many_seldom() {
        for (sessions, millis) in [
            (0, 500),
            (500, 500),
            (501, 1000),
            (1000, 1000),
            (2500, 4000),
            (10_000, 5000),
        ] {
            assert_eq!(
                pace(sessions),
                Duration::from_millis(millis),
                "{sessions} sessions"
            );
        }
        assert_eq!(pace(usize::MAX), PACE.1);
    }
}
