//! Responses that nobody reads take no more memory than they have bytes, and give way when others want what they hold.

use std::sync::Arc;
use std::time::Duration;

use ci_tunnel::transport::credit::Budget;

use super::live::{Live, STALLED, Why};
use crate::agents::{Registry, Session};

/// Compacts stalled responses, and cuts them while the budget is short.
#[derive(Debug)]
pub struct Stalled {
    pub live: Live,
    pub registry: Registry,
    pub budget: Arc<Budget>,
    /// How long a client may read nothing while others want what it holds; zero: for ever.
    pub patience: Duration,
}

/// How often the budget is looked at.
const EVERY: Duration = Duration::from_secs(1);

impl Stalled {
    /// Looks until it is dropped.
    pub async fn run(self) {
        loop {
            tokio::time::sleep(EVERY).await;
            let all_want = self.budget.was_wanted();
            if self.budget.held().get() > 0 {
                self.look(all_want);
            }
        }
    }

    fn look(&self, all_want: bool) {
        for session in self.registry.all() {
            let Some(credit) = session.connection().credit() else {
                continue;
            };
            let lying = credit.newly_lying();
            if !lying.is_empty() {
                self.live.compact(session.agent, session.id, &lying);
            }
            if (credit.was_wanted() || all_want) && !self.patience.is_zero() {
                for stream in credit.stalled(self.patience) {
                    self.cut(&session, stream);
                }
            }
        }
    }

    fn cut(&self, session: &Session, stream: u64) {
        let why = Why {
            label: STALLED,
            message: format!(
                "its client has read nothing for {} s (timeouts.stalled_download), and other requests need what it \
                 holds (quic.connection_budget, quic.budget)",
                self.patience.as_secs()
            ),
        };
        if self
            .live
            .cut_stream(session.agent, (session.id, stream), &why)
        {
            tracing::info!(
                agent.id = session.agent.0,
                session.id = session.id,
                stream,
                "a request that nobody reads was cut: others need what it holds"
            );
        }
    }
}
