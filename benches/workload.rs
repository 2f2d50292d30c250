//! The workloads by their names: each is a module with one `bench`, which starts what it needs and takes its own rounds.

use anyhow::Result;
use clap::ValueEnum;

use crate::plan::Plan;
use crate::report::Report;
use crate::{bulk, fresh, isolation, small, stalled};

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
            Self::Fresh => fresh::bench(plan, report).await,
        }
    }
}
