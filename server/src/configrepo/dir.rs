//! A directory of agent configuration: finds `<project path>/.gitlab/agents/<agent name>/config.yaml` below its root.

mod follow;
mod walk;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::file::File;
use super::kept::Kept;
use super::layer::{Agents, Reading};
use super::realm::Realm;
use super::unread::Unread;
use super::{Error, key};
pub(super) use follow::{follow, open};
use walk::Found;

/// A root, and what is known of the files below it.
pub(super) struct Directory {
    root: Root,
    realm: Realm,
    files: HashMap<PathBuf, File>,
    /// Of `files`, for the next start.
    kept: Kept,
    /// Whether `kept` may hold what is no longer here.
    outdated: bool,
    /// Files that were there and are not, and since when.
    missing: HashMap<PathBuf, Instant>,
    /// As last told.
    unread: Vec<Unread>,
}

struct Root {
    path: PathBuf,
    /// Without symlinks: what every file must resolve to be below.
    real: PathBuf,
}

/// A file that is missing for so long does not come back.
pub(super) const GONE_AFTER: Duration = Duration::from_secs(1);
impl Directory {
    pub(super) fn open(path: PathBuf, realm: Realm, kept: Kept) -> Result<Self, Error> {
        Ok(Self {
            root: Root::open(path)?,
            realm,
            files: HashMap::new(),
            kept,
            outdated: true,
            missing: HashMap::new(),
            unread: Vec::new(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.root.path
    }

    /// Whether a file has gone that may be about to come back.
    pub(super) fn is_missing_any(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Looks at all files; those that did not change keep their rules as they are.
    pub(super) fn read(&mut self) -> Reading {
        self.read_at(Instant::now())
    }

    pub(super) fn read_at(&mut self, now: Instant) -> Reading {
        let mut found = Found::default();
        found.look(&self.root);
        let mut before = std::mem::take(&mut self.files);
        let mut agents = Agents::new();
        for agent in found.files {
            self.missing.remove(&agent.file);
            let file = before.remove(&agent.file).unwrap_or_else(|| {
                File::new(
                    agent.project,
                    agent.name,
                    agent.file,
                    self.realm.provider.clone(),
                )
            });
            let file = file.refresh(&agent.root, &self.realm, &mut self.kept);
            self.keep(&mut agents, file);
        }
        for (path, file) in before {
            match found
                .unreadable
                .iter()
                .find(|(directory, _)| path.starts_with(directory))
            {
                Some((directory, error)) => {
                    let problem = format!("{}: {error}", directory.display());
                    self.keep(&mut agents, file.with_problem(problem));
                }
                None if self.is_gone(&path, now) => {
                    self.outdated = true;
                    tracing::info!(file = %path.display(), "agent configuration is gone");
                }
                None => self.keep(&mut agents, file),
            }
        }
        if self.outdated && found.unreadable.is_empty() {
            self.outdated = false;
            self.kept
                .retain(self.files.keys().filter_map(|path| path.to_str()));
        }
        self.tell(found.unreadable);
        Reading {
            agents,
            unread: self.unread.clone(),
        }
    }

    fn tell(&mut self, unreadable: Vec<(PathBuf, io::Error)>) {
        let unread = unreadable
            .into_iter()
            .map(|(directory, error)| Unread::new(&self.root.path, directory, error.to_string()));
        let unread: Vec<_> = unread.collect();
        for new in unread.iter().filter(|new| !self.unread.contains(new)) {
            let directory = new.directory.display();
            tracing::error!(%directory, problem = new.problem, "agent configuration: what was known stays in force, and nobody has access to other agents of there");
        }
        self.unread = unread;
    }

    /// Some programs replace a file by removing it first. Without its file an agent has the default rules, which may
    /// let in whom the file keeps out.
    fn is_gone(&mut self, path: &Path, now: Instant) -> bool {
        let since = *self.missing.entry(path.to_owned()).or_insert(now);
        let gone = now.duration_since(since) >= GONE_AFTER;
        if gone {
            self.missing.remove(path);
        }
        gone
    }

    fn keep(&mut self, agents: &mut Agents, file: File) {
        let agent = file.agent();
        let other = agents
            .entry(key(&agent.project, &agent.name))
            .or_insert_with(|| Arc::clone(agent));
        if other.file != agent.file {
            tracing::debug!(file = %agent.file.display(), used = %other.file.display(), "agent has several files");
        }
        self.files.insert(agent.file.clone(), file);
    }
}

impl Root {
    fn open(path: PathBuf) -> Result<Self, Error> {
        let real = path.canonicalize().map_err(|source| Error::Directory {
            directory: path.clone(),
            source,
        })?;
        if real.is_dir() {
            Ok(Self { path, real })
        } else {
            Err(Error::NotADirectory(path))
        }
    }
}
