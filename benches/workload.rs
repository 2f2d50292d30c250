//! The workloads by their names: each is a module with one `bench`, which starts what it needs and takes its own rounds.

use anyhow::Result;
use clap::ValueEnum;

use crate::plan::Plan;
use crate::report::Report;
use crate::{bulk, churn, faults, fresh, idle, interactive, isolation, links, small, stalled};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// W1: small GETs over connections that are kept
    Small,
    /// W2: 1 GiB down and up
    Bulk,
    /// W3: small GETs beside stalled readers
    Stalled,
    /// W3 of the peers
    Isolation,
    /// W4: watches and exec sessions beside bulk downloads
    Interactive,
    /// W5: slow links that lose packets
    Links,
    /// W6: agents and watches that wait
    Idle,
    /// W7: what is killed, frozen, cut off or moved
    Faults,
    /// W8: requests that are broken off, and dials that are refused
    Churn,
    /// W9: a new connection for each request
    Fresh,
}

impl Workload {
    pub async fn run(self, plan: &Plan, report: &mut Report) -> Result<()> {
        match self {
            Self::Small => small::bench(plan, report).await,
            Self::Bulk => bulk::bench(plan, report).await,
            Self::Stalled => stalled::bench(plan, report).await,
            Self::Isolation => isolation::bench(plan, report).await,
            Self::Interactive => interactive::bench(plan, report).await,
            Self::Links => {
                links::bench(plan, report);
                Ok(())
            }
            Self::Idle => idle::bench(plan, report).await,
            Self::Faults => faults::bench(plan, report).await,
            Self::Churn => churn::bench(plan, report).await,
            Self::Fresh => fresh::bench(plan, report).await,
        }
    }
}
