//! The registered agents, as the store last told; read by every request, so kept in memory.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::identity::{Agent, AgentId};

/// A snapshot of the registered agents that is replaced whole. Clones share it.
#[derive(Debug, Clone)]
pub struct Directory {
    agents: watch::Receiver<Arc<Agents>>,
}

/// Every registered agent by its id.
pub type Agents = HashMap<AgentId, Arc<Agent>>;

impl Directory {
    /// Reads what `agents` holds.
    pub fn new(agents: watch::Receiver<Arc<Agents>>) -> Self {
        Self { agents }
    }

    pub fn get(&self, id: AgentId) -> Option<Arc<Agent>> {
        self.agents.borrow().get(&id).cloned()
    }

    /// Tells of each new snapshot.
    pub fn changes(&self) -> watch::Receiver<Arc<Agents>> {
        self.agents.clone()
    }

    /// The agent `<configuration project>:<name>`; paths compare without regard to case.
    pub fn named(&self, name: &str) -> Option<Arc<Agent>> {
        let agents = self.agents.borrow();
        let is_named = |agent: &&Arc<Agent>| agent.to_string().eq_ignore_ascii_case(name);
        agents.values().find(is_named).cloned()
    }

    /// Every agent, by id.
    pub fn all(&self) -> Vec<Arc<Agent>> {
        let mut agents: Vec<_> = self.agents.borrow().values().cloned().collect();
        agents.sort_unstable_by_key(|agent| agent.id);
        agents
    }
}
