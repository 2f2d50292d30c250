//! Ending in two steps: graceful, then forced.
//!
//! Whatever deserves time to finish holds a [`Watcher`]; draining ends when the last one is dropped, or is forced when
//! the grace is over. What only wants to know, and is not waited for, holds a [`Notice`].

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// How long forced work may take to let go before the trigger gives up waiting for it.
const FORCED_GRACE: Duration = Duration::from_secs(1);

/// A trigger and the first watcher. The watcher counts as work until it is dropped.
#[must_use]
pub fn channel() -> (Trigger, Watcher) {
    let (level, notice) = watch::channel(Level::Running);
    let (work, held) = watch::channel(());
    (
        Trigger { level, work },
        Watcher {
            notice: Notice(notice),
            _held: held,
        },
    )
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Running,
    Draining,
    Forced,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All work finished within its grace.
    Drained,
    /// The work left was told to stop at once.
    Forced,
}

/// Starts the drain. Dropping it forces, so that nothing waits for a trigger that is gone.
#[derive(Debug)]
pub struct Trigger {
    level: watch::Sender<Level>,
    work: watch::Sender<()>,
}

impl Trigger {
    /// Asks all work to finish and waits for it; forces what is left after `grace`, or when [`Self::force`] is called.
    pub async fn drain(&self, grace: Duration) -> Outcome {
        self.raise(Level::Draining);
        let mut level = self.level.subscribe();
        tokio::select! {
            biased;
            // The trigger is alive, so the sender is.
            _ = level.wait_for(|level| *level == Level::Forced) => {}
            () = self.work.closed() => return Outcome::Drained,
            () = tokio::time::sleep(grace) => self.force(),
        }
        _ = timeout(FORCED_GRACE, self.work.closed()).await;
        Outcome::Forced
    }

    /// Tells all work to stop at once.
    pub fn force(&self) {
        self.raise(Level::Forced);
    }

    fn raise(&self, to: Level) {
        self.level.send_if_modified(|level| {
            let rises = *level < to;
            *level = (*level).max(to);
            rises
        });
    }
}

/// A piece of work that draining waits for; a clone is another piece.
#[derive(Debug, Clone)]
pub struct Watcher {
    notice: Notice,
    _held: watch::Receiver<()>,
}

impl Watcher {
    /// Resolves when work should finish.
    pub async fn draining(&self) {
        self.notice.draining().await;
    }

    /// Resolves when work must stop.
    pub async fn forced(&self) {
        self.notice.forced().await;
    }

    /// Whether work should finish.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.notice.is_draining()
    }

    /// The same news for something that is not waited for.
    #[must_use]
    pub fn notice(&self) -> Notice {
        self.notice.clone()
    }
}

/// News of a drain, for what is not waited for.
#[derive(Debug, Clone)]
pub struct Notice(watch::Receiver<Level>);

impl Notice {
    /// Resolves when work should finish.
    pub async fn draining(&self) {
        self.reached(Level::Draining).await;
    }

    /// Resolves when work must stop.
    pub async fn forced(&self) {
        self.reached(Level::Forced).await;
    }

    /// Whether work should finish.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.0.borrow() >= Level::Draining || self.0.has_changed().is_err()
    }

    async fn reached(&self, level: Level) {
        // An error means that the trigger is gone: that forces.
        _ = self.0.clone().wait_for(|current| *current >= level).await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn is_pending(future: impl Future) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        matches!(std::pin::pin!(future).poll(&mut context), Poll::Pending)
    }

    #[tokio::test]
    async fn waits_for_the_last_watcher() {
        let (trigger, watcher) = channel();
        let other = watcher.clone();
        assert!(is_pending(watcher.draining()) && !watcher.is_draining());
        let work = tokio::spawn(async move {
            watcher.draining().await;
            drop(watcher);
            assert!(is_pending(other.forced()));
            drop(other);
        });
        assert_eq!(
            trigger.drain(Duration::from_secs(3600)).await,
            Outcome::Drained
        );
        work.await.unwrap();
    }

    #[tokio::test]
    async fn forces_after_the_grace() {
        let (trigger, watcher) = channel();
        let work = tokio::spawn(async move { watcher.forced().await });
        assert_eq!(
            trigger.drain(Duration::from_millis(10)).await,
            Outcome::Forced
        );
        work.await.unwrap();
    }

    #[tokio::test]
    async fn does_not_wait_for_ever_for_work_that_ignores_force() {
        let (trigger, _watcher) = channel();
        assert_eq!(trigger.drain(Duration::ZERO).await, Outcome::Forced);
    }

    #[tokio::test]
    async fn can_be_forced_while_draining() {
        let (trigger, watcher) = channel();
        let began = tokio::time::Instant::now();
        let work = tokio::spawn(async move { watcher.forced().await });
        let (outcome, ()) = tokio::join!(trigger.drain(Duration::from_secs(3600)), async {
            trigger.force()
        });
        assert_eq!(outcome, Outcome::Forced);
        assert!(began.elapsed() < Duration::from_secs(2));
        work.await.unwrap();
    }

    #[tokio::test]
    async fn a_notice_is_told_but_not_waited_for() {
        let (trigger, watcher) = channel();
        let notice = watcher.notice();
        drop(watcher);
        assert_eq!(
            trigger.drain(Duration::from_secs(3600)).await,
            Outcome::Drained
        );
        notice.draining().await;
        assert!(notice.is_draining() && is_pending(notice.forced()));
        drop(trigger);
        notice.forced().await;
    }
}
