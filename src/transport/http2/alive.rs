//! Proof of life of the peer: pings, and the time since its last byte.

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::state::State;
use crate::protocol::code::Code;
use crate::transport::connection::Closed;

/// When to ask, and when to give up.
#[derive(Debug)]
pub(super) struct Alive {
    state: Arc<State>,
    pings: Option<PingPong>,
    every: Duration,
    limit: Duration,
}

impl Alive {
    pub(super) fn new(
        state: &Arc<State>,
        pings: Option<PingPong>,
        every: Duration,
        limit: Duration,
    ) -> Self {
        Self {
            state: Arc::clone(state),
            pings,
            every,
            limit,
        }
    }

    /// Asks until the peer is silent for too long.
    pub(super) async fn watch(mut self) -> Closed {
        let limit = self.limit;
        let state = Arc::clone(&self.state);
        tokio::select! {
            () = self.ask() => {}
            () = silence(&state, limit) => {}
        }
        Closed {
            code: Code::Deadline,
            said: false,
            reason: format!("nothing came from the peer for {} s", limit.as_secs_f64()),
        }
    }

    /// One ping at a time is under way; its answer measures the round trip.
    async fn ask(&mut self) {
        let Some(pings) = &mut self.pings else {
            return pending().await;
        };
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let asked = Instant::now();
            if pings.send_ping(Ping::opaque()).is_err() {
                return pending().await;
            }
            if poll_fn(|cx| pings.poll_pong(cx)).await.is_err() {
                // The connection is at its end, which whoever drives it knows.
                return pending().await;
            }
            self.state.measured(asked.elapsed());
        }
    }
}

async fn silence(state: &State, limit: Duration) {
    loop {
        let deadline = Instant::from_std(state.last_heard()) + limit;
        if Instant::now() >= deadline {
            return;
        }
        sleep_until(deadline).await;
    }
}
