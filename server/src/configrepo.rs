//! Where agents' configuration comes from: a snapshot of all rules, replaced as a whole when a file changes.
//!
//! A file that cannot be used leaves its last good rules in force; one that was never good lets nobody in.

mod config;
mod dir;
mod file;
pub mod git;
mod kept;
mod layer;
mod realm;
mod unread;
mod watcher;
pub mod webhook;

use std::path::PathBuf;
use std::sync::Arc;

use crate::access::Rules;
use crate::identity::{Agent, AgentName, ProjectPath};
pub use config::{Config, Repository, Source};
use layer::{Part, Said};
pub use unread::Unread;
pub use watcher::{Error, Outcome, Place, Read, Watcher, check, known, watch};

/// The rules of all agents at one moment: what each repository knows, the first listed first.
#[derive(Debug, Default)]
pub struct Snapshot {
    parts: Vec<Part>,
    /// Of agents without a file.
    default: Arc<Rules>,
}

/// One agent's rules and where they come from.
#[derive(Debug, Clone)]
pub struct AgentRules {
    pub project: ProjectPath,
    pub name: AgentName,
    /// Whose project `project` is, and those in `rules` where they do not say.
    pub provider: Option<String>,
    pub rules: Arc<Rules>,
    /// As messages call it: a path, or a URL and a path behind a colon.
    pub file: PathBuf,
    /// What `rules` were read from: the begin of the commit's id, or of the content's SHA-256; empty while there was
    /// nothing to use.
    pub revision: String,
    /// The commit that `rules` were read from, if it was one.
    pub commit: Option<String>,
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
    /// The rules of an agent; none when it has no file, or when nobody has looked yet.
    pub fn rules(&self, project: &ProjectPath, name: &AgentName) -> Option<&AgentRules> {
        match self.find(project, &key(project, name)) {
            Said::Rules(rules) => Some(rules),
            Said::NoFile | Said::Unread => None,
        }
    }

    /// The rules in force for an agent, with or without a file.
    pub fn in_force(&self, agent: &Agent) -> Arc<Rules> {
        match self.find(&agent.project, &key(&agent.project, &agent.name)) {
            Said::Rules(found) => Arc::clone(&found.rules),
            Said::NoFile => Arc::clone(&self.default),
            // Registered this moment; its file may keep everybody out.
            Said::Unread => Arc::new(Rules::nobody()),
        }
    }

    /// The rules that `text`, the content of `file`, would give an agent if it stood where the agent's file is, or would
    /// be looked for.
    ///
    /// # Errors
    /// The server would refuse it.
    pub fn try_out(
        &self,
        config: &Config,
        agent: &Agent,
        text: &str,
        file: &str,
    ) -> Result<Rules, String> {
        let key = key(&agent.project, &agent.name);
        let mut parts = self.parts.iter();
        let has_it = |part: &Part| !matches!(part.of(&agent.project, &key), Said::NoFile);
        let place = parts.position(has_it).or_else(|| {
            let mut parts = self.parts.iter();
            parts.position(|part| part.covers(&agent.project))
        });
        let repository = place.and_then(|place| config.repositories.get(place));
        let realm = repository.map_or_else(|| config.realm.clone(), |found| config.realm(found));
        realm.parse(text, file)
    }

    /// The version of an agent's file that is in force; empty where there is none.
    pub fn revision(&self, agent: &Agent) -> &str {
        self.rules(&agent.project, &agent.name)
            .map_or("", |found| &found.revision)
    }

    /// Whether a decision about an agent is the same by `other`.
    pub fn has_same_rules(&self, other: &Self, agent: &Agent) -> bool {
        let key = key(&agent.project, &agent.name);
        let said = (
            self.find(&agent.project, &key),
            other.find(&agent.project, &key),
        );
        match said {
            (Said::NoFile, Said::NoFile) | (Said::Unread, Said::Unread) => true,
            (Said::Rules(one), Said::Rules(other)) => Arc::ptr_eq(&one.rules, &other.rules),
            _ => false,
        }
    }

    /// All agents that have a file, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &AgentRules> {
        let known = self.parts.iter().flat_map(|part| part.agents.iter());
        known.filter_map(|(key, rules)| match self.find(&rules.project, key) {
            Said::Rules(first) => Arc::ptr_eq(first, rules).then_some(rules.as_ref()),
            Said::NoFile | Said::Unread => None,
        })
    }

    /// The directories that could not be read.
    pub fn unread(&self) -> impl Iterator<Item = &Unread> {
        self.parts.iter().flat_map(|part| part.unread.iter())
    }

    /// The one of them that keeps everybody from an agent.
    pub fn hidden(&self, agent: &Agent) -> Option<&Unread> {
        let key = key(&agent.project, &agent.name);
        match self.find(&agent.project, &key) {
            Said::Unread => {
                let mut parts = self.parts.iter();
                parts.find_map(|part| part.hidden(&agent.project, &key))
            }
            Said::Rules(_) | Said::NoFile => None,
        }
    }

    fn find(&self, project: &ProjectPath, key: &str) -> Said<'_> {
        let mut said = self.parts.iter().map(|part| part.of(project, key));
        said.find(|said| !matches!(said, Said::NoFile))
            .unwrap_or(Said::NoFile)
    }
}

/// A colon stands in neither part, so that no two agents share a key.
fn key(project: &ProjectPath, name: &AgentName) -> String {
    format!("{}:{}", project.key(), name.as_str())
}

#[cfg(test)]
mod tests;
