//! Where agents' configuration comes from: a snapshot of all rules, replaced as a whole when a file changes.
//!
//! A file that cannot be used leaves its last good rules in force; one that was never good lets nobody in.

mod config;
mod dir;
mod file;
pub mod git;
mod kept;
mod layer;
mod watcher;
pub mod webhook;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::access::Rules;
use crate::identity::{Agent, AgentName, ProjectPath};
pub use config::{Config, Repository, Source};
pub use watcher::{Error, Place, Read, Watcher, check, known, watch};

/// The rules of all agents at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    agents: HashMap<String, Arc<AgentRules>>,
}

/// One agent's rules and where they come from.
#[derive(Debug, Clone)]
pub struct AgentRules {
    pub project: ProjectPath,
    pub name: AgentName,
    pub rules: Arc<Rules>,
    /// As messages call it: a path, or a URL and a path behind a colon.
    pub file: PathBuf,
    /// What `rules` were read from: the begin of the commit's id, or of the content's SHA-256; empty while there was
    /// nothing to use.
    pub revision: String,
    /// The commit that `rules` were read from, if it was one.
    pub commit: Option<String>,
    /// The CI system whose project paths `rules` speak of, where the repository says it.
    pub provider: Option<String>,
    /// Why the file as it is now is not what `rules` say.
    pub problem: Option<String>,
}

impl AgentRules {
    fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rules, &other.rules)
            && (&self.revision, &self.commit, &self.problem)
                == (&other.revision, &other.commit, &other.problem)
    }
}

impl Snapshot {
    /// The rules of an agent; none when it has no file, which means [`Rules::default`].
    pub fn rules(&self, project: &ProjectPath, name: &AgentName) -> Option<&AgentRules> {
        self.agents.get(&key(project, name)).map(Arc::as_ref)
    }

    /// The rules in force for an agent, with or without a file.
    pub fn in_force(&self, agent: &Agent) -> Arc<Rules> {
        self.rules(&agent.project, &agent.name)
            .map_or_else(Arc::default, |found| Arc::clone(&found.rules))
    }

    /// All agents that have a file, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &AgentRules> {
        self.agents.values().map(Arc::as_ref)
    }

    fn same(&self, other: &Self) -> bool {
        let same = |(key, agent)| {
            other
                .agents
                .get(key)
                .is_some_and(|other| Arc::ptr_eq(agent, other))
        };
        self.agents.len() == other.agents.len() && self.agents.iter().all(same)
    }
}

/// A colon stands in neither part, so that no two agents share a key.
fn key(project: &ProjectPath, name: &AgentName) -> String {
    format!("{}:{}", project.key(), name.as_str())
}

#[cfg(test)]
mod tests;
