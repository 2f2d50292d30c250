//! A directory of agent configuration: finds `<project path>/.gitlab/agents/<agent name>/config.yaml` below its root.

mod follow;

use std::collections::HashMap;
use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::file::File;
use super::kept::Kept;
use super::layer::Agents;
use super::realm::Realm;
use super::{Error, key};
use crate::identity::{AgentName, ProjectPath};
pub(super) use follow::{follow, open};

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
}

struct Root {
    path: PathBuf,
    /// Without symlinks: what every file must resolve to be below.
    real: PathBuf,
}

/// What one look at the root found.
#[derive(Default)]
struct Found {
    files: Vec<Agent>,
    /// Directories that could not be read now. What was known below them stays in force.
    unreadable: Vec<(PathBuf, io::Error)>,
    /// Directories that were read.
    read: usize,
}

/// A directory on the way down from the root.
struct Step<'a> {
    path: &'a Path,
    /// Without symlinks.
    real: PathBuf,
    above: Option<&'a Step<'a>>,
}

struct Agent {
    project: ProjectPath,
    name: AgentName,
    file: PathBuf,
    /// Without symlinks: what the file must resolve to be below.
    root: PathBuf,
}

/// A file that is missing for so long does not come back.
pub(super) const GONE_AFTER: Duration = Duration::from_secs(1);
/// Groups nest 20 deep at most in GitLab; the rest is room.
const MAX_DEPTH: usize = 32;
/// Directories that one look reads: whoever may put symlinks there could make it endless else.
const MAX_DIRECTORIES: usize = 100_000;

impl Directory {
    pub(super) fn open(path: PathBuf, realm: Realm, kept: Kept) -> Result<Self, Error> {
        Ok(Self {
            root: Root::open(path)?,
            realm,
            files: HashMap::new(),
            kept,
            outdated: true,
            missing: HashMap::new(),
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
    pub(super) fn read(&mut self) -> Agents {
        self.read_at(Instant::now())
    }

    pub(super) fn read_at(&mut self, now: Instant) -> Agents {
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
        agents
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

impl Found {
    fn look(&mut self, root: &Root) {
        match root.path.canonicalize() {
            // The root itself may be a symlink that is swapped.
            Ok(real) => {
                let top = Step {
                    path: &root.path,
                    real: real.clone(),
                    above: None,
                };
                let path = root.path.clone();
                self.directory(&Root { path, real }, &top, MAX_DEPTH);
            }
            Err(error) => self.unreadable.push((root.path.clone(), error)),
        }
        if self.read > MAX_DIRECTORIES {
            let many = format!(
                "more than {MAX_DIRECTORIES} directories below it: are there symlinks in circles?"
            );
            self.unreadable
                .push((root.path.clone(), io::Error::other(many)));
        }
    }

    /// A project has no projects below it, so what lies beside `.gitlab` is not looked at.
    fn directory(&mut self, root: &Root, step: &Step<'_>, depth: usize) {
        let agents = step.path.join(".gitlab/agents");
        if agents.is_dir() {
            return self.project(root, step.path, &agents);
        }
        for entry in self.entries(step.path) {
            let name = entry.file_name();
            // `..data` and its like are how a mounted ConfigMap is swapped; its files are reached by their own names.
            if depth == 0 || name == ".git" || name.as_encoded_bytes().starts_with(b"..") {
                continue;
            }
            if let Some(real) = directory_within(&entry, step, &root.real) {
                let below = Step {
                    path: &entry.path(),
                    real,
                    above: Some(step),
                };
                self.directory(root, &below, depth - 1);
            }
        }
    }

    fn project(&mut self, root: &Root, directory: &Path, agents: &Path) {
        let path = directory
            .strip_prefix(&root.path)
            .ok()
            .and_then(Path::to_str);
        let Some(project) = path.and_then(|path| path.parse::<ProjectPath>().ok()) else {
            return tracing::warn!(directory = %directory.display(), "not the path of a project: its agents are ignored");
        };
        for entry in self.entries(agents) {
            let file = entry.path().join("config.yaml");
            let name = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<AgentName>().ok());
            match name {
                // A link that leads nowhere is there, and a problem to tell of, not a missing file.
                Some(name) if file.symlink_metadata().is_ok() => {
                    self.files.push(Agent {
                        project: project.clone(),
                        name,
                        file,
                        root: root.real.clone(),
                    });
                }
                Some(_) => {}
                None => {
                    tracing::debug!(directory = %entry.path().display(), "not the name of an agent: ignored")
                }
            }
        }
    }

    /// In the order of their names, so that it does not change from one look to the next.
    fn entries(&mut self, directory: &Path) -> Vec<DirEntry> {
        self.read += 1;
        if self.read > MAX_DIRECTORIES {
            return Vec::new();
        }
        let entries = fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = match entries {
            Ok(entries) => entries,
            // Removed since its parent was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                self.unreadable.push((directory.to_owned(), error));
                Vec::new()
            }
        };
        entries.sort_by_key(DirEntry::file_name);
        entries
    }
}

/// Where a directory really is. Symlinks may lead anywhere below the root, but neither out of it nor in a circle.
fn directory_within(entry: &DirEntry, step: &Step<'_>, root: &Path) -> Option<PathBuf> {
    let kind = entry.file_type().ok()?;
    if !kind.is_symlink() {
        return kind.is_dir().then(|| step.real.join(entry.file_name()));
    }
    let real = entry.path().canonicalize().ok()?;
    (real.is_dir() && real.starts_with(root) && !step.is_below(&real)).then_some(real)
}

impl Step<'_> {
    fn is_below(&self, real: &Path) -> bool {
        self.real == real || self.above.is_some_and(|above| above.is_below(real))
    }
}
