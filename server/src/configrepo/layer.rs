//! What each repository knows, and the snapshot that they make together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};

use super::{AgentRules, Snapshot, key};
use crate::identity::{AgentName, ProjectPath};

/// What one repository knows. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    agents: Arc<Mutex<Agents>>,
    changed: Arc<Notify>,
}

/// By [`key`].
pub(super) type Agents = HashMap<String, Arc<AgentRules>>;

/// All layers, the first listed first.
#[derive(Debug)]
pub(super) struct Layers {
    layers: Vec<Layer>,
    changed: Arc<Notify>,
}

impl Layer {
    /// Replaces all.
    pub(super) fn replace(&self, agents: Agents) {
        self.with(|known| *known = agents);
    }

    /// What holds for an agent from now on; none: this repository has no file for it.
    pub(super) fn put(&self, project: &ProjectPath, name: &AgentName, rules: Option<AgentRules>) {
        let key = key(project, name);
        self.with(|known| match rules {
            None => drop(known.remove(&key)),
            Some(rules) => {
                if !known.get(&key).is_some_and(|before| before.same(&rules)) {
                    known.insert(key, Arc::new(rules));
                }
            }
        });
    }

    fn with(&self, change: impl FnOnce(&mut Agents)) {
        // A map is whole between any two calls.
        change(&mut self.agents.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }
}

impl Layers {
    pub(super) fn new(count: usize) -> Self {
        let changed = Arc::new(Notify::new());
        let layer = || Layer {
            agents: Arc::default(),
            changed: Arc::clone(&changed),
        };
        Self {
            layers: (0..count).map(|_| layer()).collect(),
            changed: Arc::clone(&changed),
        }
    }

    /// The layer of the repository listed at `index`.
    pub(super) fn layer(&self, index: usize) -> Layer {
        self.layers[index].clone()
    }

    /// Of several files for one agent that of the first listed.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut agents = Agents::new();
        for layer in &self.layers {
            let known = layer.agents.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, rules) in known.iter() {
                agents
                    .entry(key.clone())
                    .or_insert_with(|| Arc::clone(rules));
            }
        }
        Snapshot { agents }
    }

    /// Sends a new snapshot whenever it is another one.
    pub(super) async fn publish(self, snapshots: watch::Sender<Arc<Snapshot>>) {
        loop {
            self.changed.notified().await;
            let snapshot = self.snapshot();
            let changed = !snapshot.same(&snapshots.borrow());
            if changed {
                snapshots.send_replace(Arc::new(snapshot));
            }
        }
    }
}
