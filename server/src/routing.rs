//! Agent → an open request stream: waits for an agent that is away, and tries another session when one takes no stream.

use std::sync::Arc;
use std::time::Duration;

use ci_tunnel::transport::stream::{Receiver, Sender};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

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
    /// For a stream where the limits of streams of all its sessions are reached.
    pub open: Duration,
}

/// What a session has to open a stream before the next one is tried.
const AT_ONCE: Duration = Duration::from_millis(100);

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
    Absent(Absent),
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
        let begin = Instant::now();
        let mut tried = Tried::default();
        // The usual case, which needs to hear of no changes.
        if let Ok(session) = self.registry.choose(agent, &tried.sessions)
            && let Some(route) = self.try_on(session, &mut tried).await
        {
            return Ok(route);
        }
        let mut changes = self.registry.changes(agent);
        loop {
            changes.mark_unchanged();
            let absent = match self.registry.choose(agent, &tried.sessions) {
                Ok(session) => match self.try_on(session, &mut tried).await {
                    Some(route) => return Ok(route),
                    None => continue,
                },
                Err(absent) => absent,
            };
            // An agent whose connection just broke is away, and most likely about to come back. Sessions that are there but
            // full have one deadline together.
            let (patience, error) = if tried.full.is_empty() {
                (self.config.hold, Error::Absent(absent))
            } else {
                (self.config.open, Error::NoStream)
            };
            let news = async {
                tokio::select! {
                    biased;
                    Some(route) = first_free(&tried.full) => Some(Ok(route)),
                    // Without whoever would tell of changes there will be none.
                    changed = changes.changed() => changed.err().map(|_| Err(())),
                }
            };
            match timeout_at(begin + patience, news).await {
                Ok(None) => {}
                Ok(Some(Ok(route))) => return Ok(route),
                Ok(Some(Err(()))) | Err(_) => return Err(error),
            }
        }
    }

    /// A stream on this session, if it takes one at once.
    async fn try_on(&self, session: Arc<Session>, tried: &mut Tried) -> Option<Route> {
        let patience = self.config.open.min(AT_ONCE);
        let unopened = match open_on(&session, patience).await {
            Ok(route) => return Some(route),
            Err(unopened) => unopened,
        };
        self.metrics.routing_retries.inc();
        tried.sessions.push(session.id);
        if unopened == Unopened::Full {
            session.suspect();
            tried.full.push(session);
        }
        None
    }
}

/// The sessions that gave no stream at once.
#[derive(Debug, Default)]
struct Tried {
    sessions: Vec<u64>,
    /// Those whose limit of streams was reached.
    full: Vec<Arc<Session>>,
}

/// A stream on whichever has a place first; `None` when all are gone.
async fn first_free(full: &[Arc<Session>]) -> Option<Route> {
    let mut opening = JoinSet::new();
    for session in full {
        let session = Arc::clone(session);
        opening.spawn(async move { open_on(&session, Duration::MAX).await });
    }
    while let Some(opened) = opening.join_next().await {
        if let Ok(Ok(route)) = opened {
            return Some(route);
        }
    }
    None
}

async fn open_on(session: &Arc<Session>, patience: Duration) -> Result<Route, Unopened> {
    let (running, sender, receiver) = session.open(patience).await?;
    Ok(Route {
        session: session.id,
        running,
        sender,
        receiver,
    })
}
