//! What one stream's sender may still send.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// The credit of a stream that has much to send.
#[derive(Debug)]
pub(super) struct Gate {
    left: AtomicU64,
    /// What was taken since the stream's begin, and at the last look.
    sent: AtomicU64,
    seen: AtomicU64,
    /// Wakes the one task that writes.
    opened: Notify,
}

impl Gate {
    pub(super) fn new(first: u64, sent: u64) -> Self {
        Self {
            left: AtomicU64::new(first.saturating_sub(sent)),
            sent: AtomicU64::new(sent),
            seen: AtomicU64::new(0),
            opened: Notify::new(),
        }
    }

    /// Takes up to `wanted` bytes of credit; 0 when there is none.
    pub(super) fn take(&self, wanted: u64) -> u64 {
        let part = |left: u64| Some(left - left.min(wanted));
        let left = self
            .left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, part)
            .unwrap_or_else(|left| left);
        let taken = left.min(wanted);
        self.sent.fetch_add(taken, Ordering::Relaxed);
        taken
    }

    /// Takes `wanted` bytes of credit, or none.
    pub(super) fn take_all(&self, wanted: u64) -> bool {
        let rest = |left: u64| left.checked_sub(wanted);
        let taken = self
            .left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, rest);
        if taken.is_ok() {
            self.sent.fetch_add(wanted, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    /// Waits until there may be credit.
    pub(super) async fn opened(&self) {
        self.opened.notified().await;
    }

    pub(super) fn grant(&self, bytes: u64) {
        let more = |left: u64| Some(left.saturating_add(bytes));
        // It never fails: there is always another value.
        let _ = self
            .left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        self.opened.notify_one();
    }

    pub(super) fn left(&self) -> u64 {
        self.left.load(Ordering::Acquire)
    }

    /// Bytes sent since the stream's begin.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Gives up what is over `keep`, if nothing was sent since the last look; how much that was.
    pub(super) fn give_up_idle(&self, keep: u64) -> u64 {
        let sent = self.sent();
        if self.seen.swap(sent, Ordering::Relaxed) != sent {
            return 0;
        }
        let kept = |left: u64| (left > keep).then_some(keep);
        let given = self
            .left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, kept);
        given.map_or(0, |left| left - keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_there_is() {
        let gate = Gate::new(100, 60);
        assert_eq!((gate.take(30), gate.take(30), gate.take(30)), (30, 10, 0));
        gate.grant(50);
        assert_eq!((gate.take(50), gate.sent()), (50, 150));
    }

    #[test]
    fn an_idle_stream_gives_up_what_it_does_not_use() {
        let gate = Gate::new(100, 100);
        gate.grant(80);
        assert_eq!(gate.give_up_idle(30), 0);
        assert_eq!(gate.give_up_idle(30), 50);
        assert_eq!(gate.give_up_idle(30), 0);
        assert_eq!(gate.take(80), 30);
    }

    #[tokio::test]
    async fn a_grant_that_comes_first_is_not_missed() {
        let gate = Gate::new(0, 0);
        gate.grant(1);
        gate.opened().await;
        assert_eq!(gate.take(9), 1);
    }
}
