//! One look at a root: which agents have files below it, and what could not be read.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::Root;
use crate::identity::{AgentName, ProjectPath};

/// What one look at the root found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) files: Vec<Agent>,
    /// Directories that could not be read now. What was known below them stays in force.
    pub(super) unreadable: Vec<(PathBuf, io::Error)>,
    /// Directories that were read.
    read: usize,
}

/// A directory on the way down from the root.
struct Step<'a> {
    path: &'a Path,
    /// Without symlinks.
    real: PathBuf,
    above: Option<&'a Self>,
}

/// An agent whose file was found.
pub(super) struct Agent {
    pub(super) project: ProjectPath,
    pub(super) name: AgentName,
    pub(super) file: PathBuf,
    /// Without symlinks: what the file must resolve to be below.
    pub(super) root: PathBuf,
}

/// Groups nest 20 deep at most in GitLab; the rest is room.
const MAX_DEPTH: usize = 32;
/// Directories that one look reads: whoever may put symlinks there could make it endless else.
const MAX_DIRECTORIES: usize = 100_000;

impl Found {
    pub(super) fn look(&mut self, root: &Root) {
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
            match directory_within(&entry, step, &root.real) {
                Ok(Some(real)) => {
                    let below = Step {
                        path: &entry.path(),
                        real,
                        above: Some(step),
                    };
                    self.directory(root, &below, depth - 1);
                }
                Ok(None) => {}
                Err(error) if is_nothing(&error) => {}
                Err(error) => self.unreadable.push((entry.path(), error)),
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
                Some(name) => match file.symlink_metadata() {
                    Ok(_) => self.files.push(Agent {
                        project: project.clone(),
                        name,
                        file,
                        root: root.real.clone(),
                    }),
                    Err(error) if is_nothing(&error) => {}
                    Err(error) => self.unreadable.push((entry.path(), error)),
                },
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
            Err(error) if is_nothing(&error) => Vec::new(),
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
fn directory_within(entry: &DirEntry, step: &Step<'_>, root: &Path) -> io::Result<Option<PathBuf>> {
    let kind = entry.file_type()?;
    if !kind.is_symlink() {
        return Ok(kind.is_dir().then(|| step.real.join(entry.file_name())));
    }
    let real = entry.path().canonicalize()?;
    let within = real.is_dir() && real.starts_with(root) && !step.is_below(&real);
    Ok(within.then_some(real))
}

/// Whether there is surely nothing, as opposed to something that is not shown.
fn is_nothing(error: &io::Error) -> bool {
    let link_in_a_circle = error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
    link_in_a_circle
        || matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        )
}

impl Step<'_> {
    fn is_below(&self, real: &Path) -> bool {
        self.real == real || self.above.is_some_and(|above| above.is_below(real))
    }
}
