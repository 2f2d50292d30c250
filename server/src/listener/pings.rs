//! Pings of one session, and what an agent's silence says.

use std::time::Duration;

use tokio::time::{Instant, Interval, interval, sleep_until};

use crate::agents::Session;

/// Pings measure the path and prove that the agent's program, not only its kernel, is alive.
const EVERY: Duration = Duration::from_secs(15);
/// After so long without an answer the agent's other sessions are preferred; that costs nothing, so it may be soon.
const DOUBT: Duration = Duration::from_millis(500);
/// After so long the session is given up if the agent has a newer one: its process was killed, most often, and whoever waits
/// on it would wait for the idle limit.
const GIVE_UP: Duration = Duration::from_secs(5);

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
    ticks: Interval,
    sequence: u64,
    /// When the first unanswered ping was sent.
    asked: Option<Instant>,
    doubted: bool,
    /// A newer session came since the agent was last heard of.
    superseded: bool,
}

impl Pings {
    pub(super) fn new() -> Self {
        Self {
            ticks: interval(EVERY),
            sequence: 0,
            asked: None,
            doubted: false,
            superseded: false,
        }
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
            _ = self.ticks.tick() => self.ping(),
            () = silence => if self.doubted {
                Due::GiveUp
            } else {
                self.doubted = true;
                Due::Doubt
            },
        }
    }

    /// The agent lives.
    pub(super) fn heard(&mut self) {
        self.asked = None;
        self.doubted = false;
        self.superseded = false;
    }

    fn ping(&mut self) -> Due {
        self.asked.get_or_insert_with(Instant::now);
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
