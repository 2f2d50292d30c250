//! What is known of one project's repository: in memory, and on disk for the next start.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::project::Parsed;
use super::tree::Found;
use crate::access::{MAX_FILE, Rules};
use crate::configrepo::file;
use crate::configrepo::realm::Realm;
use crate::identity::AgentName;

/// What was last read of a project's repository.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct State {
    /// The commit whose files are known; none: never read.
    pub commit: Option<String>,
    /// By agent. One that is not here was never looked for.
    pub agents: BTreeMap<AgentName, Known>,
}

/// What is known of an agent's file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Known {
    /// The newest object at the file's place; none: there is nothing.
    pub blob: Option<String>,
    /// Why that can not be used.
    pub problem: Option<String>,
    /// The newest content that can be used.
    pub good: Option<Good>,
}

/// Content that can be used.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Good {
    /// The newest commit that had it.
    pub commit: String,
    content: String,
    #[serde(skip)]
    pub rules: Arc<Rules>,
}

const FILE: &str = "state.json";

/// Leaves nothing for the next start.
pub(super) fn forget(directory: &Path) {
    // It may have left nothing yet.
    let _ = std::fs::remove_file(directory.join(FILE));
}

impl State {
    /// What an earlier process left in `directory`. What can not be used is as if it were not there.
    pub(super) fn load(
        directory: &Path,
        realm: &Realm,
        label: impl Fn(&AgentName) -> String,
    ) -> Self {
        let Ok(text) = std::fs::read(directory.join(FILE)) else {
            return Self::default();
        };
        let mut state: Self = serde_json::from_slice(&text).unwrap_or_default();
        for (name, known) in &mut state.agents {
            if let Some(good) = &mut known.good {
                match file::parse(realm, good.content.as_bytes(), &label(name)) {
                    Ok(rules) => good.rules = Arc::new(rules),
                    Err(problem) => (known.good, known.problem) = (None, Some(problem)),
                }
            }
            if known.problem.is_some() {
                // It may be none to this process: read it again, whatever the commit.
                (known.blob, state.commit) = (None, None);
            }
        }
        state
    }

    /// Leaves it for the next start. Nobody sees half of it.
    pub(super) fn save(&self, directory: &Path) -> io::Result<()> {
        let new = directory.join("state.new");
        std::fs::write(&new, serde_json::to_vec(self)?)?;
        std::fs::rename(new, directory.join(FILE))
    }

    /// Whether nothing new can be learnt from this commit.
    pub(super) fn knows(&self, commit: &str, names: &[AgentName]) -> bool {
        self.commit.as_deref() == Some(commit)
            && names.iter().all(|name| self.agents.contains_key(name))
    }
}

impl Known {
    /// Whether this is what is known of already, so that its content need not be read.
    pub(super) fn is(&self, found: &Found) -> bool {
        match found {
            Found::Nothing => self.blob.is_none() && self.problem.is_none(),
            Found::File { blob } | Found::Refused { blob, .. } => self.blob.as_ref() == Some(blob),
        }
    }

    /// The same file, in a newer commit.
    pub(super) fn seen_in(&mut self, commit: &str) {
        if let Some(good) = self.good.as_mut().filter(|_| self.problem.is_none()) {
            commit.clone_into(&mut good.commit);
        }
    }

    /// A file that can not be used; the last good content stays.
    pub(super) fn refuse(&mut self, blob: String, problem: String) {
        (self.blob, self.problem) = (Some(blob), Some(problem));
    }

    /// A file's content.
    pub(super) fn read(&mut self, blob: String, commit: &str, parsed: Parsed) {
        match parsed {
            Ok((rules, content)) => {
                self.blob = Some(blob);
                self.problem = None;
                self.good = Some(Good {
                    commit: commit.to_owned(),
                    content: String::from_utf8_lossy(&content).into_owned(),
                    rules: Arc::new(rules),
                });
            }
            Err(problem) => self.refuse(blob, problem),
        }
    }
}

/// What is wrong with a file of this size.
pub(super) fn too_large(label: &str, size: usize) -> String {
    format!("{label}: {size} bytes, {MAX_FILE} at most")
}
