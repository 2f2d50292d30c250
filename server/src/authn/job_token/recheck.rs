//! Asking again about the tokens of running requests, so that they end with their jobs.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::{JobTokens, Standing};
use crate::authn::Authenticated;

const SHORTEST_TICK: Duration = Duration::from_millis(100);
const LONGEST_TICK: Duration = Duration::from_secs(5);

impl JobTokens {
    /// Asks about the tokens of running requests again, for ever.
    pub(in crate::authn) async fn recheck(self: Arc<Self>) {
        let age = self.config.recheck;
        if age.is_zero() {
            return;
        }
        let mut tick = tokio::time::interval((age / 10).clamp(SHORTEST_TICK, LONGEST_TICK));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let mut asks = JoinSet::new();
            for (key, standing) in self.due(age) {
                let this = Arc::clone(&self);
                asks.spawn(async move {
                    // What comes of it is in the standing; a GitLab that does not answer changes nothing.
                    let _ = this.ask_once(key, standing.token.clone(), age).await;
                });
            }
            while asks.join_next().await.is_some() {}
        }
    }

    /// The tokens of running requests that GitLab was not asked about for `age`.
    fn due(&self, age: Duration) -> Vec<([u8; 32], Arc<Standing>)> {
        let standing = |(key, who): ([u8; 32], Arc<Authenticated>)| {
            let standing = who.standing.clone()?;
            let due = standing.check().is_ok() && !standing.is_younger(age);
            due.then_some((key, standing))
        };
        self.used.all().into_iter().filter_map(standing).collect()
    }
}
