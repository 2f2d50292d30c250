//! The agent's pings, and what the server's silence says.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How often the server is asked for a sign of life until it says how often.
const EVERY: Duration = Duration::from_secs(10);
/// What the server may ask for.
const RANGE: (Duration, Duration) = (Duration::from_millis(100), EVERY);
/// Between pings as long as there is no answer: a server that was started again answers the first that comes with a reset.
const AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(1));
/// After so long without an answer another session is tried beside this one.
const DOUBT: Duration = Duration::from_secs(2);
/// A server silent for so long on the control stream is taken for dead, whatever QUIC says.
const SILENCE_LIMIT: Duration = Duration::from_secs(35);

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// To send a ping of this number.
    Ping(u64),
    /// To look for another session.
    Doubt,
    /// To end the session.
    GiveUp,
}

/// When to ask the server, and since when it is silent.
#[derive(Debug)]
pub(super) struct Alive {
    every: Duration,
    number: u64,
    heard: Instant,
    /// When the last ping was sent.
    pinged: Instant,
    /// When the first unanswered ping was sent, and when that is too long ago.
    asked: Option<(Instant, Instant)>,
    doubted: bool,
}

impl Alive {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            every: EVERY,
            number: 0,
            heard: now,
            pinged: now,
            asked: None,
            doubted: false,
        }
    }

    /// Takes the server's word for how often; what that is now.
    pub(super) fn ask_every(&mut self, every: Duration) -> Duration {
        self.every = every.clamp(RANGE.0, RANGE.1);
        self.every
    }

    /// The server lives. True when there was doubt.
    pub(super) fn heard(&mut self) -> bool {
        self.heard = Instant::now();
        self.asked = None;
        std::mem::take(&mut self.doubted)
    }

    /// Waits for what is due. Losing a race loses nothing.
    pub(super) async fn next(&mut self) -> Due {
        let (silent, ping) = (self.silent_at(), self.ping_at());
        sleep_until(silent.min(ping)).await;
        if silent > ping {
            self.ping()
        } else if self.heard.elapsed() >= SILENCE_LIMIT {
            Due::GiveUp
        } else {
            self.doubted = true;
            Due::Doubt
        }
    }

    fn ping(&mut self) -> Due {
        let now = Instant::now();
        self.pinged = now;
        // Where there are many agents they do not all come at once for what may be a server that is only busy.
        let patience = DOUBT + self.every.mul_f64(rand::random_range(0.0..2.0));
        self.asked.get_or_insert((now, now + patience));
        self.number += 1;
        Due::Ping(self.number)
    }

    fn ping_at(&self) -> Instant {
        let pause = match self.asked {
            Some((asked, _)) => (asked.elapsed() / 8).clamp(AGAIN.0, AGAIN.1),
            None => self.every,
        };
        self.pinged + pause
    }

    fn silent_at(&self) -> Instant {
        let end = self.heard + SILENCE_LIMIT;
        match self.asked {
            Some((_, doubt)) if !self.doubted => doubt.min(end),
            _ => end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn asks_as_often_as_told_while_it_is_answered() {
        let mut alive = Alive::new();
        let every = alive.ask_every(Duration::from_millis(500));
        let begin = Instant::now();
        for number in 1..=20 {
            assert_eq!(alive.next().await, Due::Ping(number));
            assert!(!alive.heard());
        }
        assert!(begin.elapsed() >= every * 20 && begin.elapsed() < every * 22);
        assert_eq!(alive.ask_every(Duration::ZERO), RANGE.0);
        assert_eq!(alive.ask_every(Duration::from_secs(60)), RANGE.1);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_asked_about_doubted_and_given_up() {
        let mut alive = Alive::new();
        alive.ask_every(Duration::from_millis(500));
        let begin = Instant::now();
        let mut doubted = None;
        let mut pings = 0;
        loop {
            match alive.next().await {
                Due::Ping(_) => pings += 1,
                Due::Doubt => doubted = Some(begin.elapsed()),
                Due::GiveUp => break,
            }
        }
        let doubted = doubted.unwrap();
        assert!(doubted >= DOUBT && doubted < DOUBT * 2, "{doubted:?}");
        assert!((34..100).contains(&pings), "{pings} pings");
        assert!(begin.elapsed() >= SILENCE_LIMIT);
        assert!(alive.heard());
        assert!(!alive.heard());
    }
}
