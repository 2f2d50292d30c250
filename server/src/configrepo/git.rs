//! Git repositories: one remote, the repositories of many projects, each followed by a task of its own.
//!
//! The `git` program does the work. A project whose remote hangs holds up itself alone.

mod clone;
mod complaint;
mod environment;
mod follow;
mod pokes;
mod program;
mod project;
pub mod remote;
mod state;
mod tree;
pub mod url;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::layer::Layer;
use super::realm::Realm;
use crate::agents::directory::Agents;
use crate::identity::{AgentName, ProjectPath};
use crate::metrics::Metrics;
use follow::{Shared, follow};
pub(super) use pokes::Pokes;
use project::Project;
pub use remote::Remote;

/// One remote, followed.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) remote: Arc<Remote>,
    pub(super) realm: Realm,
    /// Holds a directory for each project.
    pub(super) directory: PathBuf,
    pub(super) layer: Layer,
    pub(super) metrics: Metrics,
}

/// A project that is followed.
#[derive(Debug)]
struct Followed {
    path: ProjectPath,
    names: watch::Sender<Vec<AgentName>>,
    task: AbortHandle,
    directory: PathBuf,
}

/// Runs of git at a time, of each kind.
const PARALLEL: usize = 8;

impl Source {
    /// What earlier processes left. Asks nobody.
    pub(super) fn read_known(&self, agents: &Agents) {
        for (path, names) in self.needed(agents).into_values() {
            let project = self.open(&path);
            for name in &names {
                self.layer.put(&path, name, project.rules(name));
            }
        }
    }

    /// Reads each project once, `PARALLEL` at a time; what failed, and why.
    pub(super) async fn read_once(&self, agents: &Agents) -> Vec<(String, Option<String>)> {
        let places = Arc::new(Semaphore::new(PARALLEL));
        let mut tasks = JoinSet::new();
        for (path, names) in self.needed(agents).into_values() {
            let (mut project, layer, places) =
                (self.open(&path), self.layer.clone(), Arc::clone(&places));
            tasks.spawn(async move {
                let _place = places.acquire().await;
                let failure = project
                    .update(&names, true)
                    .await
                    .err()
                    .map(|error| error.to_string());
                for name in &names {
                    layer.put(&path, name, project.rules(name));
                }
                (project.url(), failure)
            });
        }
        let mut read: Vec<_> = tasks.join_all().await;
        read.sort();
        read
    }

    /// Follows the projects of the registered agents, for ever. `first` is dropped when each that was never read before
    /// has been tried.
    pub(super) async fn follow(
        self,
        mut agents: watch::Receiver<Arc<Agents>>,
        pokes: Pokes,
        first: mpsc::Sender<()>,
    ) {
        let remote = self.remote.url.to_string();
        let shared = Shared::new(self.layer.clone(), self.metrics.clone(), remote);
        let shared = Arc::new(shared);
        let mut tasks = JoinSet::new();
        let mut followed = HashMap::new();
        let mut first = Some(first);
        loop {
            let needed = self.needed(&agents.borrow_and_update());
            self.begin(
                needed,
                &mut followed,
                &mut tasks,
                &shared,
                &pokes,
                first.take(),
            );
            tokio::select! {
                changed = agents.changed() => if changed.is_err() {
                    // The server is ending.
                    return std::future::pending().await;
                },
                Some(Err(error)) = tasks.join_next() => if error.is_panic() {
                    // Seen as this task's end by whoever watches it.
                    std::panic::resume_unwind(error.into_panic());
                },
            }
        }
    }

    /// A task for each project that has none, and an end of those that no agent needs any more.
    fn begin(
        &self,
        mut needed: HashMap<String, (ProjectPath, Vec<AgentName>)>,
        followed: &mut HashMap<String, Followed>,
        tasks: &mut JoinSet<()>,
        shared: &Arc<Shared>,
        pokes: &Pokes,
        first: Option<mpsc::Sender<()>>,
    ) {
        followed.retain(|key, project| match needed.remove(key) {
            Some((_, names)) => {
                project.names.send_if_modified(|known| {
                    let changed = *known != names;
                    *known = names;
                    changed
                });
                true
            }
            None => {
                project.end(shared, pokes);
                false
            }
        });
        for (key, (path, names)) in needed {
            let project = self.open(&path);
            // What is known is in force from the first moment.
            shared.publish(&project, &names, &[]);
            let first = first.clone().filter(|_| !project.is_known(&names));
            let (names, receiver) = watch::channel(names);
            let poke = pokes.register(&path);
            let task = tasks.spawn(follow(project, receiver, poke, Arc::clone(shared), first));
            let directory = self.directory_of(&path);
            followed.insert(
                key,
                Followed {
                    path,
                    names,
                    task,
                    directory,
                },
            );
        }
    }

    fn needed(&self, agents: &Agents) -> HashMap<String, (ProjectPath, Vec<AgentName>)> {
        let mut needed = HashMap::<_, (ProjectPath, Vec<AgentName>)>::new();
        for agent in agents
            .values()
            .filter(|agent| self.remote.covers(&agent.project))
        {
            let (_, names) = needed
                .entry(agent.project.key())
                .or_insert_with(|| (agent.project.clone(), Vec::new()));
            names.push(agent.name.clone());
        }
        for (_, names) in needed.values_mut() {
            names.sort_unstable();
            names.dedup();
        }
        needed
    }

    fn open(&self, path: &ProjectPath) -> Project {
        let directory = self.directory_of(path);
        Project::open(
            path.clone(),
            Arc::clone(&self.remote),
            self.realm.clone(),
            directory,
        )
    }

    fn directory_of(&self, project: &ProjectPath) -> PathBuf {
        self.directory.join(name_of(&project.key()))
    }
}

/// Where what is known of a remote is kept: another URL or branch is another remote.
pub(super) fn directory_of(root: &Path, remote: &Remote) -> PathBuf {
    let branch = remote.branch.as_deref().unwrap_or_default();
    root.join("git")
        .join(name_of(&format!("{} {branch}", remote.url)))
}

/// A name that any file system takes, whatever `text` is.
fn name_of(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl Followed {
    fn end(&self, shared: &Shared, pokes: &Pokes) {
        self.task.abort();
        pokes.forget(&self.path);
        shared.failing(&self.path, false);
        for name in self.names.borrow().iter() {
            shared.layer.forget(&self.path, name);
        }
        // An agent that is registered again some day must not find rules of today.
        state::forget(&self.directory);
        let directory = self.directory.clone();
        tokio::task::spawn_blocking(move || std::fs::remove_dir_all(directory));
    }
}

#[cfg(test)]
mod tests;
