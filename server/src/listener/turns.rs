//! When one more handshake may begin: as many as the processor has time for, and some in any case.
//!
//! A handshake costs about a millisecond of CPU, and thousands of agents come at once when their server was started again.
//! Requests share threads with handshakes, so what those cost shows in how long a task waits for its turn.

use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::Instant;

/// As long as a task gets its turn within this, another handshake does no harm.
const LAG: Duration = Duration::from_millis(5);
/// After so long the next handshake begins whatever it does to requests: agents must not be kept out by jobs.
const LEAST: Duration = Duration::from_millis(20);

/// Gives turns.
#[derive(Debug)]
pub(super) struct Turns {
    last: Instant,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self {
            last: Instant::now(),
        }
    }

    /// Waits for a turn. Losing a race loses nothing.
    pub(super) async fn next(&self) {
        while self.last.elapsed() < LEAST {
            let begin = Instant::now();
            // Comes back behind every task that is ready now, and behind what the sockets have meanwhile.
            yield_now().await;
            if begin.elapsed() < LAG {
                return;
            }
        }
    }

    /// A turn was taken.
    pub(super) fn taken(&mut self) {
        self.last = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_are_given_at_once_to_an_idle_processor() {
        let mut turns = Turns::new();
        let begin = Instant::now();
        for _ in 0..1000 {
            turns.next().await;
            turns.taken();
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_processor_gives_some_all_the_same() {
        let mut turns = Turns::new();
        let busy = tokio::spawn(async {
            loop {
                tokio::time::advance(LAG * 2).await;
                yield_now().await;
            }
        });
        let begin = Instant::now();
        for _ in 0..10 {
            turns.next().await;
            turns.taken();
        }
        busy.abort();
        let took = begin.elapsed();
        assert!(took >= LEAST * 5 && took <= LEAST * 30, "{took:?}");
    }
}
