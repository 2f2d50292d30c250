//! The receiving half's part: what was taken, and what that grants.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::Credit;
use super::window::Window;

/// What a receiver counts.
#[derive(Debug)]
pub(in crate::transport) struct Incoming {
    credit: Arc<Credit>,
    stream: u64,
    read: u64,
    /// Once much has come.
    held: Option<Arc<Held>>,
}

/// What a stream of which much is received may hold.
#[derive(Debug)]
pub(super) struct Held {
    window: Mutex<Window>,
    still: Mutex<Still>,
}

/// Since when a reader has taken nothing.
#[derive(Debug, Default)]
struct Still {
    read: u64,
    since: Option<Instant>,
    /// Whether [`Held::newly_lying`] has said so.
    said: bool,
}

impl Incoming {
    pub(in crate::transport) fn new(credit: Arc<Credit>, stream: u64) -> Self {
        Self {
            credit,
            stream,
            read: 0,
            held: None,
        }
    }

    /// The reader has taken `bytes`.
    pub(in crate::transport) fn took(&mut self, bytes: usize) {
        let before = self.read;
        self.read += bytes as u64;
        if self.read <= Credit::unnoticed(self.credit.terms.first) {
            return;
        }
        let held = self
            .held
            .get_or_insert_with(|| self.credit.hold(self.stream, before));
        held.window().took(bytes as u64);
        self.credit.grant(self.stream, held);
    }

    /// The reader finds nothing to take.
    pub(in crate::transport) fn waits(&self) {
        if let Some(held) = &self.held {
            held.window().waits();
            self.credit.grant(self.stream, held);
        }
    }

    /// The reader has a reason not to take more for a while.
    pub(in crate::transport) fn excuse(&self) {
        if let Some(held) = &self.held {
            held.window().excuse();
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(held) = &self.held {
            self.credit.let_go(self.stream, held);
        }
    }
}

impl Held {
    pub(super) fn new(first: u64, most: u64, read: u64) -> Self {
        Self {
            window: Mutex::new(Window::new(first, most, read, Instant::now())),
            still: Mutex::default(),
        }
    }

    pub(super) fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees whether the reader took something since the last time; whether there may be something to see the next time.
    pub(super) fn look(&self, now: Instant) -> bool {
        let (lying, extra) = {
            let window = self.window();
            (window.left_lying(), window.extra())
        };
        let mut still = self.still();
        match lying {
            Some(read) if read == still.read => {
                still.since.get_or_insert(now);
            }
            Some(read) => {
                *still = Still {
                    read,
                    ..Still::default()
                };
            }
            None => *still = Still::default(),
        }
        extra > 0 || (lying.is_some() && still.since.is_none())
    }

    /// Whether its reader has left bytes lying for a while, said once.
    pub(super) fn newly_lying(&self) -> bool {
        let mut still = self.still();
        still.since.is_some() && !std::mem::replace(&mut still.said, true)
    }

    /// Since when its reader leaves bytes lying, if it holds more than any stream may.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        let holds = {
            let window = self.window();
            window.extra() > 0 && window.left_lying().is_some()
        };
        self.still().since.filter(|_| holds)
    }

    fn still(&self) -> MutexGuard<'_, Still> {
        self.still.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
