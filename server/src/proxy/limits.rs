//! How much a job, a project, an agent and an address may ask at a time, in a second, and carry. What already runs is
//! never dropped: requests over a limit are refused before they begin, bytes over one wait.

pub mod address;
mod bucket;
pub mod config;
pub mod pace;
mod scope;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::authn::Authenticated;
use crate::identity::AgentId;
use crate::metrics::Metrics;
pub use address::Addresses;
pub use config::{Config, Limit};
pub use pace::Pace;
use scope::{Scope, Slot};

/// Counts what runs. Clones share the counts.
#[derive(Debug, Clone)]
pub struct Limits {
    job: Arc<Scope>,
    project: Arc<Scope>,
    agent: Arc<Scope>,
    pub addresses: Addresses,
}

/// The places that a running request takes, free again when dropped.
#[derive(Debug, Default)]
pub struct Slots {
    slots: [Option<Slot>; 3],
}

/// Which limit a request is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Over {
    pub kind: Kind,
    pub bound: Bound,
    pub value: u32,
    pub retry_after: Duration,
}

/// Whose limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Job,
    Project,
    Agent,
    Address,
}

/// The limit of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    Rate,
    Concurrent,
    Bytes,
    Connections,
    Rejected,
}

impl Limits {
    pub fn new(config: &Config, metrics: &Metrics) -> Self {
        let scope = |kind, limit| Arc::new(Scope::new(kind, limit, metrics.clone()));
        Self {
            job: scope(Kind::Job, config.job),
            project: scope(Kind::Project, config.project),
            agent: scope(Kind::Agent, config.agent),
            addresses: Addresses::new(config.address, metrics.clone()),
        }
    }

    /// Takes a place for one more request, to an agent if it is to one.
    ///
    /// # Errors
    /// The job, its project or the agent is over its rate, or has as many requests running as it may.
    pub fn admit(&self, who: &Authenticated, agent: Option<AgentId>) -> Result<Slots, Over> {
        let identity = &who.identity;
        let origin = || who.origin().as_str();
        let job = identity.job_id.as_deref().unwrap_or_else(origin);
        let project = (&identity.provider, identity.project.path.key());
        let agent = agent.map(|agent| (&self.agent, self.agent.key(agent)));
        let scopes = [
            Some((&self.job, self.job.key((&project, job)))),
            Some((&self.project, self.project.key(&project))),
            agent,
        ];
        for (scope, key) in scopes.iter().flatten() {
            scope.check_rate(*key)?;
        }
        let mut taken = Slots::default();
        for (slot, scope) in taken.slots.iter_mut().zip(scopes) {
            if let Some((scope, key)) = scope {
                *slot = Scope::take(scope, key)?;
            }
        }
        Ok(taken)
    }

    /// Other limits from now on. What runs goes on.
    pub fn change(&self, config: &Config) {
        self.job.change(config.job);
        self.project.change(config.project);
        self.agent.change(config.agent);
        self.addresses.change(config.address);
    }

    /// Forgets whoever has not been seen lately.
    pub fn sweep(&self) {
        for scope in [&self.job, &self.project, &self.agent] {
            scope.sweep();
        }
        self.addresses.sweep();
    }
}

impl Slots {
    /// For one direction of the request; none where no limit of bytes holds.
    pub fn pace(&self) -> Option<Pace> {
        let buckets = self.slots.iter().flatten();
        Pace::new(buckets.filter_map(|slot| slot.bucket.clone()))
    }
}

impl Kind {
    /// As in metrics and settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Project => "project",
            Self::Agent => "agent",
            Self::Address => "address",
        }
    }

    fn whose(self) -> &'static str {
        match self {
            Self::Job => "this job",
            Self::Project => "this job's project",
            Self::Agent => "this agent, over all jobs that use it,",
            Self::Address => "this address",
        }
    }
}

impl Bound {
    /// As in metrics and settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "requests_per_second",
            Self::Concurrent => "concurrent",
            Self::Bytes => "bytes_per_second",
            Self::Connections => "connections",
            Self::Rejected => "rejected_per_second",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Rate => "requests begun a second",
            Self::Concurrent => "requests at a time",
            Self::Bytes => "bytes a second",
            Self::Connections => "connections without a good credential",
            Self::Rejected => "rejected requests a second",
        }
    }
}

/// `this job has reached its limit of 500 requests at a time (limits.job.concurrent)`.
impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, bound) = (self.kind, self.bound);
        write!(
            f,
            "{} has reached its limit of {} {} (limits.{}.{} in the server's configuration)",
            kind.whose(),
            self.value,
            bound.what(),
            kind.name(),
            bound.name()
        )
    }
}
