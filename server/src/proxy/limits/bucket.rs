//! Bytes a second of one key, shared fairly by its streams.
//!
//! Whoever would be through first if all were served at once, each with an equal share, goes first (weighted fair
//! queueing): a key stroke waits for the piece that is being paid for and for nothing else, however many downloads of
//! the same job stand in the queue. Turns are given by a task that lives while somebody waits, not by who waits: one
//! whose client does not read never comes back for its turn, and must not keep the others from theirs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

/// What a key may have saved up, as time at its full rate.
const BURST: Duration = Duration::from_secs(1);
/// Turns a second at most of a slow key: how long a turn of another stream can be in the way.
const TURNS: u64 = 20;
/// The least and the most that one turn is for, in bytes.
const PIECE: std::ops::RangeInclusive<u64> = 1024..=64 * 1024;

/// The bytes of one key.
#[derive(Debug)]
pub(super) struct Bucket {
    state: Mutex<State>,
    /// Counts the turns that somebody had to wait for.
    waits: Counter,
}

#[derive(Debug)]
struct State {
    /// Bytes a second; 0 once there is no limit any more.
    rate: u64,
    /// When the next turn can be given.
    free_at: Instant,
    /// What one stream that always waited would have had, in [`UNIT`]s of a byte.
    share: u64,
    next: u64,
    waiting: BTreeMap<Place, Waiting>,
    /// Whether the task that gives turns runs.
    driven: bool,
}

/// What the stream will have had after the turn, and the order of asking.
type Place = (u64, u64);

/// So many are a byte.
const UNIT: u64 = 256;

#[derive(Debug)]
struct Waiting {
    bytes: u64,
    turn: oneshot::Sender<()>,
}

/// What is to be done about those who wait.
enum Next {
    Look,
    LookAt(Instant),
    Nothing,
}

/// A turn for so many bytes; to be waited for where it holds something.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) bytes: u64,
    pub(super) due: Option<oneshot::Receiver<()>>,
}

impl Bucket {
    /// Full.
    pub(super) fn new(rate: u64, waits: Counter) -> Self {
        let now = Instant::now();
        let state = State {
            rate,
            free_at: now.checked_sub(BURST).unwrap_or(now),
            share: 0,
            next: 0,
            waiting: BTreeMap::new(),
            driven: false,
        };
        Self {
            state: Mutex::new(state),
            waits,
        }
    }

    /// A turn for some of the `owed` bytes of a stream that `had` so much.
    pub(super) fn ask(self: &Arc<Self>, owed: u64, had: &mut u64) -> Turn {
        let mut state = self.state();
        let bytes = owed.min(state.piece());
        // Nobody saves up turns by not asking for them.
        let before = state.share.max(*had);
        *had = before + bytes * UNIT;
        let now = Instant::now();
        if state.waiting.is_empty() && state.is_due(now) {
            state.share = before;
            state.charge(bytes, now);
            return Turn { bytes, due: None };
        }
        let (turn, due) = oneshot::channel();
        let place = (*had, state.next);
        state.next += 1;
        state.waiting.insert(place, Waiting { bytes, turn });
        if !std::mem::replace(&mut state.driven, true) {
            tokio::spawn(Arc::clone(self).drive());
        }
        drop(state);
        self.waits.inc();
        Turn {
            bytes,
            due: Some(due),
        }
    }

    /// From now on; 0 is no limit.
    pub(super) fn set_rate(&self, rate: u64) {
        self.state().rate = rate;
    }

    /// Whether nothing is lost when it is forgotten.
    pub(super) fn is_full(&self) -> bool {
        let state = self.state();
        state.waiting.is_empty() && state.free_at + BURST <= Instant::now()
    }

    /// Gives turns until nobody waits.
    async fn drive(self: Arc<Self>) {
        loop {
            match self.give() {
                // Whoever has had this turn may have the next one too, once it has asked.
                Next::Look => tokio::task::yield_now().await,
                Next::LookAt(when) => sleep_until(when).await,
                Next::Nothing => return,
            }
        }
    }

    /// Gives the next turn, if it is due.
    fn give(&self) -> Next {
        let mut state = self.state();
        let now = Instant::now();
        if !state.is_due(now) {
            return Next::LookAt(state.free_at);
        }
        while let Some((_, waiting)) = state.waiting.pop_first() {
            // Who does not wait any more pays nothing.
            if waiting.turn.send(()).is_ok() {
                state.charge(waiting.bytes, now);
                return Next::Look;
            }
        }
        state.driven = false;
        Next::Nothing
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn piece(&self) -> u64 {
        match self.rate {
            0 => *PIECE.end(),
            rate => (rate / TURNS).clamp(*PIECE.start(), *PIECE.end()),
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.rate == 0 || self.free_at <= now
    }

    fn charge(&mut self, bytes: u64, now: Instant) {
        self.share += bytes * UNIT / (self.waiting.len() as u64 + 1);
        if self.rate > 0 {
            let cost = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate);
            let cost = Duration::from_nanos(u64::try_from(cost).unwrap_or(u64::MAX));
            let saved = now.checked_sub(BURST).unwrap_or(now);
            self.free_at = self.free_at.max(saved) + cost;
        }
    }
}
