//! What each repository knows, and the snapshot that they make together.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::git::Remote;
use super::unread::Unread;
use super::{AgentRules, Snapshot, key};
use crate::access::Rules;
use crate::identity::{AgentName, ProjectPath};

/// What one repository knows, as it changes. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    part: Arc<Mutex<Part>>,
    changed: Arc<Notify>,
}

/// What one repository knows at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    pub(super) agents: Arc<Agents>,
    /// Of a git remote: agents that are known to have no file. A directory knows that of all that are not in `agents`.
    without: Arc<HashSet<String>>,
    remote: Option<Arc<Remote>>,
    /// Of a directory.
    pub(super) unread: Arc<Vec<Unread>>,
}

/// What a look at a directory gave.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) agents: Agents,
    pub(super) unread: Vec<Unread>,
}

/// By [`key`].
pub(super) type Agents = HashMap<String, Arc<AgentRules>>;

/// What a repository says of an agent.
#[derive(Debug)]
pub(super) enum Said<'a> {
    Rules(&'a Arc<AgentRules>),
    NoFile,
    /// Nobody has looked yet, or could.
    Unread,
}

/// All layers, the first listed first.
#[derive(Debug)]
pub(super) struct Layers {
    layers: Vec<Layer>,
    /// Of agents without a file.
    default: Arc<Rules>,
    changed: Arc<Notify>,
}

impl Part {
    /// Whether an agent of this project could have its file here.
    pub(super) fn covers(&self, project: &ProjectPath) -> bool {
        let remote = self.remote.as_ref();
        remote.is_none_or(|remote| remote.covers(project))
    }

    pub(super) fn of(&self, project: &ProjectPath, key: &str) -> Said<'_> {
        match (self.agents.get(key), &self.remote) {
            (Some(rules), _) => Said::Rules(rules),
            (None, Some(remote)) if remote.covers(project) && !self.without.contains(key) => {
                Said::Unread
            }
            _ if self.hidden(project, key).is_some() => Said::Unread,
            _ => Said::NoFile,
        }
    }

    /// Where an agent's file may be that is not seen.
    pub(super) fn hidden(&self, project: &ProjectPath, key: &str) -> Option<&Unread> {
        let mut unread = self.unread.iter();
        unread.find(|unread| unread.may_hide(project, key))
    }
}

impl Layer {
    /// Replaces all.
    pub(super) fn replace(&self, reading: Reading) {
        let Reading { agents, unread } = reading;
        let mut part = self.lock();
        let same = |(key, rules): (&String, &Arc<AgentRules>)| {
            let before = part.agents.get(key);
            before.is_some_and(|before| Arc::ptr_eq(before, rules))
        };
        let same = agents.len() == part.agents.len() && agents.iter().all(same);
        if same && *part.unread == unread {
            return;
        }
        part.agents = Arc::new(agents);
        part.unread = Arc::new(unread);
        self.changed.notify_one();
    }

    /// What holds for an agent from now on; none: this repository has no file for it.
    pub(super) fn put(&self, project: &ProjectPath, name: &AgentName, rules: Option<AgentRules>) {
        let key = key(project, name);
        let mut part = self.lock();
        match rules {
            None if part.without.contains(&key) => return,
            None => {
                if part.agents.contains_key(&key) {
                    Arc::make_mut(&mut part.agents).remove(&key);
                }
                Arc::make_mut(&mut part.without).insert(key);
            }
            Some(rules) => {
                let before = part.agents.get(&key);
                if before.is_some_and(|before| before.same(&rules)) {
                    return;
                }
                Arc::make_mut(&mut part.agents).insert(key.clone(), Arc::new(rules));
                if part.without.contains(&key) {
                    Arc::make_mut(&mut part.without).remove(&key);
                }
            }
        }
        self.changed.notify_one();
    }

    /// Nothing is known of an agent any more.
    pub(super) fn forget(&self, project: &ProjectPath, name: &AgentName) {
        let key = key(project, name);
        let mut part = self.lock();
        Arc::make_mut(&mut part.agents).remove(&key);
        Arc::make_mut(&mut part.without).remove(&key);
        self.changed.notify_one();
    }

    // It is whole between any two statements that matter.
    fn lock(&self) -> MutexGuard<'_, Part> {
        self.part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Layers {
    /// One for each repository: of a git remote, where it is one.
    pub(super) fn new(remotes: impl Iterator<Item = Option<Arc<Remote>>>, default: Rules) -> Self {
        let changed = Arc::new(Notify::new());
        let layer = |remote| Layer {
            part: Arc::new(Mutex::new(Part {
                remote,
                ..Part::default()
            })),
            changed: Arc::clone(&changed),
        };
        Self {
            layers: remotes.map(layer).collect(),
            default: Arc::new(default),
            changed: Arc::clone(&changed),
        }
    }

    /// The layer of the repository listed at `index`.
    pub(super) fn layer(&self, index: usize) -> Layer {
        self.layers[index].clone()
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let parts = self.layers.iter().map(|layer| layer.lock().clone());
        Snapshot {
            parts: parts.collect(),
            default: Arc::clone(&self.default),
        }
    }

    /// Sends a new snapshot after each change.
    pub(super) async fn publish(self, snapshots: watch::Sender<Arc<Snapshot>>) {
        loop {
            self.changed.notified().await;
            snapshots.send_replace(Arc::new(self.snapshot()));
        }
    }
}
