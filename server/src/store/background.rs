//! The store's own task: notices other processes' changes, writes what was held back, forgets what has ended.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::backend::Backend;
use super::last_used::LastUsed;
use super::publish;

/// How soon a change by another process is noticed. Reading one cached row costs microseconds.
const POLL: Duration = Duration::from_secs(1);
/// Polls between two writes of when tokens were last used.
const POLLS_A_FLUSH: u64 = 10;
/// Polls between two clean-ups.
const POLLS_A_CLEANUP: u64 = 3600;
/// Ended job tokens stay listed so long.
const JOB_TOKENS_LISTED: Duration = Duration::from_secs(30 * 24 * 3600);

pub(super) async fn run(
    backend: Arc<dyn Backend>,
    changes: watch::Sender<u64>,
    last_used: Arc<LastUsed>,
) {
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    for poll in 1_u64.. {
        ticks.tick().await;
        failing = !notice(backend.as_ref(), &changes, failing).await;
        if poll % POLLS_A_FLUSH == 0 {
            last_used.flush(backend.as_ref()).await;
        }
        if poll % POLLS_A_CLEANUP == 0 {
            forget(backend.as_ref()).await;
        }
    }
}

/// Whether the store could be read. That it can not is said once, not every second.
async fn notice(backend: &dyn Backend, changes: &watch::Sender<u64>, was_failing: bool) -> bool {
    match backend.generation().await {
        Ok(generation) => {
            if was_failing {
                tracing::info!("the store can be read again");
            }
            publish(changes, generation);
            true
        }
        Err(error) => {
            if !was_failing {
                tracing::error!(%error, "the store can not be read: changes go unnoticed until it can");
            }
            false
        }
    }
}

async fn forget(backend: &dyn Backend) {
    let now = SystemTime::now();
    if let Err(error) = backend.forget(now, now - JOB_TOKENS_LISTED).await {
        tracing::warn!(%error, "ended job tokens could not be removed from the store");
    }
}
