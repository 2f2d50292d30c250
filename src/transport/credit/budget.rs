//! Bytes that streams may hold beyond the first ones, of a process and of one connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus_client::metrics::gauge::Gauge;

/// So many bytes and no more. Streams that get none go on with what every stream has.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    held: Gauge,
    /// Somebody was refused since it was last asked.
    wanted: AtomicBool,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit,
            held: Gauge::default(),
            wanted: AtomicBool::new(false),
        })
    }

    /// What is taken now, as a metric.
    pub fn held(&self) -> &Gauge {
        &self.held
    }

    /// Whether somebody was refused since this was last asked.
    pub fn was_wanted(&self) -> bool {
        self.wanted.swap(false, Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        // Two that come at once may both be refused where one would have fitted: they ask again.
        let before = self.held.inc_by(bytes);
        let fits = u64::try_from(before.saturating_add(bytes)).is_ok_and(|sum| sum <= self.limit);
        if !fits {
            self.held.dec_by(bytes);
            self.wanted.store(true, Ordering::Relaxed);
        }
        fits
    }

    fn give(&self, bytes: u64) {
        self.held.dec_by(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

/// What one connection may take of the process's budget.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) own: Arc<Budget>,
    process: Arc<Budget>,
}

impl Share {
    pub(super) fn new(own: u64, process: Arc<Budget>) -> Self {
        Self {
            own: Budget::new(own),
            process,
        }
    }

    pub(super) fn take(&self, bytes: u64) -> bool {
        if !self.own.take(bytes) {
            return false;
        }
        let fits = self.process.take(bytes);
        if !fits {
            self.own.give(bytes);
        }
        fits
    }

    pub(super) fn give(&self, bytes: u64) {
        if bytes > 0 {
            self.own.give(bytes);
            self.process.give(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_and_the_process_must_both_have_room() {
        let process = Budget::new(100);
        let (one, other) = (
            Share::new(80, Arc::clone(&process)),
            Share::new(80, Arc::clone(&process)),
        );
        assert!(one.take(80));
        assert!(!one.take(1));
        assert!(one.own.was_wanted() && !process.was_wanted());
        assert!(!other.take(30));
        assert!(process.was_wanted() && !process.was_wanted());
        assert!(other.take(20));
        assert_eq!((process.held().get(), other.own.held().get()), (100, 20));
        one.give(80);
        other.give(20);
        assert_eq!(process.held().get(), 0);
    }
}
