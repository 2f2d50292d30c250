//! Agent → an open request stream: waits for an agent that is away, and tries another session when one takes no stream.

use std::time::{Duration, SystemTime};

use ci_tunnel::transport::stream::{Receiver, Sender};
use tokio::sync::watch;

use crate::agents::registry::Absent;
use crate::agents::session::{Running, Unopened};
use crate::agents::{Registry, Session};
use crate::identity::AgentId;
use crate::metrics::Metrics;

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// For an agent that is away.
    pub hold: Duration,
    /// For a stream on a session whose stream limit is reached.
    pub open: Duration,
}

/// Finds the way to agents.
#[derive(Debug, Clone)]
pub struct Router {
    config: Config,
    registry: Registry,
    metrics: Metrics,
}

/// A stream to an agent; nothing has been sent on it.
#[derive(Debug)]
pub struct Route {
    pub session: u64,
    pub running: Running,
    pub sender: Sender,
    pub receiver: Receiver,
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the agent is not connected")]
    Absent { since: Option<SystemTime> },
    #[error("the agent takes no more requests")]
    NoStream,
}

impl Router {
    pub fn new(config: Config, registry: Registry, metrics: Metrics) -> Self {
        Self {
            config,
            registry,
            metrics,
        }
    }

    /// Opens a stream to the agent.
    ///
    /// # Errors
    /// The agent stays away for the hold, or none of its sessions opens a stream in time.
    pub async fn open(&self, agent: AgentId) -> Result<Route, Error> {
        let deadline = tokio::time::Instant::now() + self.config.hold;
        let mut changes: Option<watch::Receiver<u64>> = None;
        let mut tried = Vec::new();
        let mut some_are_full = false;
        loop {
            if let Some(changes) = &mut changes {
                changes.mark_unchanged();
            }
            let absent = match self.registry.choose(agent, &tried) {
                Ok(session) => match self.open_on(&session).await {
                    Ok(route) => return Ok(route),
                    Err(unopened) => {
                        self.metrics.routing_retries.inc();
                        tried.push(session.id);
                        some_are_full |= unopened == Unopened::Full;
                        continue;
                    }
                },
                Err(absent) => absent,
            };
            match &mut changes {
                // Nearly always there is a session: only who finds none listens for changes, and then looks again.
                None => changes = Some(self.registry.changes()),
                // An agent whose connection just broke is away, and most likely about to come back.
                Some(changes) => {
                    Box::pin(self.wait(changes, deadline, absent, some_are_full)).await?;
                }
            }
        }
    }

    async fn open_on(&self, session: &std::sync::Arc<Session>) -> Result<Route, Unopened> {
        let (running, sender, receiver) = session.open(self.config.open).await?;
        Ok(Route {
            session: session.id,
            running,
            sender,
            receiver,
        })
    }

    async fn wait(
        &self,
        changes: &mut watch::Receiver<u64>,
        deadline: tokio::time::Instant,
        absent: Absent,
        some_are_full: bool,
    ) -> Result<(), Error> {
        let error = || {
            if some_are_full {
                Error::NoStream
            } else {
                Error::Absent {
                    since: absent.since,
                }
            }
        };
        // Sessions that are there but full are not waited for again: each had its `open` deadline.
        if some_are_full && !self.registry_is_changing(changes) {
            return Err(error());
        }
        match tokio::time::timeout_at(deadline, changes.changed()).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(error()),
        }
    }

    fn registry_is_changing(&self, changes: &watch::Receiver<u64>) -> bool {
        changes.has_changed().unwrap_or(false)
    }
}
