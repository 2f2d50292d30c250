//! Who is connected: agent → sessions. Entries are removed by the guard that admission holds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;

use super::balance;
use super::session::Session;
use crate::identity::AgentId;
use crate::metrics::{Metrics, TransportLabels};

/// The sessions of all agents. Clones share it.
#[derive(Debug, Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    agents: Mutex<HashMap<AgentId, Entry>>,
    /// Of all agents together.
    sessions: AtomicUsize,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Entry {
    sessions: Vec<Arc<Session>>,
    /// Told of arrivals and departures, so that whoever waits for the agent looks again.
    changes: watch::Sender<()>,
    /// When the last session went away.
    absent_since: Option<SystemTime>,
}

impl Entry {
    fn drains(&self) -> bool {
        !self.sessions.is_empty() && self.sessions.iter().all(|session| !session.accepts())
    }
}

/// Keeps a session in the registry until dropped.
#[derive(Debug)]
pub struct Registered {
    registry: Registry,
    session: Arc<Session>,
}

/// Why there is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absent {
    /// Since when; `None` if the agent has not been seen since this server's start.
    pub since: Option<SystemTime>,
    /// There are sessions, and all drain.
    pub draining: bool,
}

impl Registry {
    pub fn new(metrics: Metrics) -> Self {
        Self {
            shared: Arc::new(Shared {
                agents: Mutex::default(),
                sessions: AtomicUsize::new(0),
                metrics,
            }),
        }
    }

    /// Makes the session known to routing.
    pub fn register(&self, session: Arc<Session>) -> Registered {
        {
            let mut agents = self.agents();
            let entry = agents.entry(session.agent).or_default();
            // One of them may be what a killed process left behind.
            entry.sessions.iter().for_each(|older| older.supersede());
            entry.sessions.push(Arc::clone(&session));
            entry.changes.send_replace(());
        }
        self.counted(&session).inc();
        self.shared.sessions.fetch_add(1, Ordering::Relaxed);
        Registered {
            registry: self.clone(),
            session,
        }
    }

    /// A session of the agent that takes requests, none of `tried`: of those with the least known against them the less
    /// loaded of two taken at random.
    pub fn choose(&self, agent: AgentId, tried: &[u64]) -> Result<Arc<Session>, Absent> {
        let agents = self.agents();
        let entry = agents.get(&agent);
        let usable = |session: &&Arc<Session>| session.accepts() && !tried.contains(&session.id);
        // One session, the usual case, needs no list.
        if let Some([only]) = entry.map(|entry| entry.sessions.as_slice())
            && usable(&only)
        {
            return Ok(Arc::clone(only));
        }
        let mut sessions: Vec<_> = entry
            .map(|entry| entry.sessions.iter().filter(usable).collect())
            .unwrap_or_default();
        if let Some(best) = sessions.iter().map(|session| session.standing.rank()).min() {
            // What is known may change meanwhile; some session is left all the same.
            let worse = |session: &&Arc<Session>| session.standing.rank() > best;
            if !sessions.iter().all(worse) {
                sessions.retain(|session| !worse(session));
            }
        }
        let loads: Vec<_> = sessions.iter().map(|session| session.running()).collect();
        match balance::choose(&loads, rand::random()) {
            Some(index) => Ok(Arc::clone(sessions[index])),
            None => Err(Absent {
                since: entry.and_then(|entry| entry.absent_since),
                draining: entry.is_some_and(Entry::drains),
            }),
        }
    }

    /// Tells of every arrival and departure of the agent's sessions.
    pub fn changes(&self, agent: AgentId) -> watch::Receiver<()> {
        self.agents().entry(agent).or_default().changes.subscribe()
    }

    /// How many sessions there are, of all agents.
    pub fn count(&self) -> usize {
        self.shared.sessions.load(Ordering::Relaxed)
    }

    /// Forgets agents that are not `known` any more and have no session.
    pub fn retain(&self, known: impl Fn(AgentId) -> bool) {
        self.agents()
            .retain(|agent, entry| !entry.sessions.is_empty() || known(*agent));
    }

    /// The sessions of one agent.
    pub fn sessions(&self, agent: AgentId) -> Vec<Arc<Session>> {
        self.agents()
            .get(&agent)
            .map(|entry| entry.sessions.clone())
            .unwrap_or_default()
    }

    /// Every session.
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.agents()
            .values()
            .flat_map(|entry| entry.sessions.iter().cloned())
            .collect()
    }

    fn remove(&self, session: &Session) {
        if let Some(entry) = self.agents().get_mut(&session.agent) {
            entry.sessions.retain(|other| other.id != session.id);
            if entry.sessions.is_empty() {
                entry.absent_since = Some(SystemTime::now());
            }
            entry.changes.send_replace(());
        }
        self.counted(session).dec();
        self.shared.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    fn counted(&self, session: &Session) -> Gauge {
        let transport = session.connection().transport().name();
        let sessions = &self.shared.metrics.agent_sessions;
        sessions.get_or_create_owned(&TransportLabels { transport })
    }

    fn agents(&self) -> MutexGuard<'_, HashMap<AgentId, Entry>> {
        self.shared
            .agents
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.remove(&self.session);
    }
}
