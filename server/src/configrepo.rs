//! Where agents' configuration comes from: a snapshot of all rules, replaced as a whole when a file changes.
//!
//! A file that cannot be used leaves its last good rules in force; one that was never good lets nobody in.

mod dir;
mod file;
mod realm;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _, event::AccessKind};
use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::access::Rules;
use crate::identity::{Agent, AgentName, ProjectPath};
use dir::Directories;
use realm::Realm;

/// `config_repositories` in the server's file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Config {
    pub repositories: Vec<Repository>,
    /// What [`Config::bind`] found.
    #[serde(skip)]
    realm: Realm,
}

/// One place to look in. Where two have a file for one agent, the first listed wins.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// Holds `<project path>/.gitlab/agents/<agent name>/config.yaml`.
    pub directory: PathBuf,
    /// Whose project paths the directory and the files in it speak of. Default: the only configured provider.
    pub provider: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("config_repositories: {}: {source}", directory.display())]
    Directory {
        directory: PathBuf,
        source: std::io::Error,
    },
    #[error("config_repositories: {}: is not a directory", .0.display())]
    NotADirectory(PathBuf),
    #[error(
        "config_repositories: {repository}: provider is missing: with several providers it must be said whose project \
         paths these are, one of {known}"
    )]
    NoProvider { repository: String, known: String },
    #[error(
        "config_repositories: {repository}: provider {provider:?} is not configured: known are {known}"
    )]
    UnknownProvider {
        repository: String,
        provider: String,
        known: String,
    },
    #[error("config_repositories: the first reading did not end: {0}")]
    Reading(#[from] tokio::task::JoinError),
}

/// The rules of all agents at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    agents: HashMap<String, Arc<AgentRules>>,
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
    pub file: PathBuf,
    /// The hash of the content that `rules` were read from, shortened; empty while there was none to use.
    pub revision: String,
    /// Why the file as it is now is not what `rules` say.
    pub problem: Option<String>,
}

impl Snapshot {
    /// The rules of an agent; none when it has no file, which means [`Rules::default`].
    pub fn rules(&self, project: &ProjectPath, name: &AgentName) -> Option<&AgentRules> {
        self.agents.get(&key(project, name)).map(Arc::as_ref)
    }

    /// The rules in force for an agent, with or without a file.
    pub fn in_force(&self, agent: &Agent) -> Arc<Rules> {
        self.rules(&agent.project, &agent.name).map_or_else(
            || Arc::clone(&self.default),
            |found| Arc::clone(&found.rules),
        )
    }

    /// The version of an agent's file that is in force; empty where there is none.
    pub fn revision(&self, agent: &Agent) -> &str {
        self.rules(&agent.project, &agent.name)
            .map_or("", |found| &found.revision)
    }

    /// Whether a decision about an agent is the same by `other`.
    pub fn has_same_rules(&self, other: &Self, agent: &Agent) -> bool {
        let key = key(&agent.project, &agent.name);
        match (self.agents.get(&key), other.agents.get(&key)) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(&one.rules, &other.rules),
            _ => false,
        }
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

/// Keeps the snapshot up to date until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    _task: AbortOnDropHandle<()>,
    _events: Option<RecommendedWatcher>,
}

/// After the first sign of a change: time for the rest of it.
const SETTLE: Duration = Duration::from_millis(100);
/// Watches miss changes (network mounts, swapped symlinks, full queues), so all is looked at this often anyway.
const RESCAN: Duration = Duration::from_secs(10);

/// Reads all rules and keeps watching. The first snapshot is complete when this returns.
pub async fn watch(config: &Config) -> Result<(watch::Receiver<Arc<Snapshot>>, Watcher), Error> {
    let config = config.clone();
    let (wake, woken) = mpsc::channel(1);
    let (events, directories, first) = tokio::task::spawn_blocking(move || {
        // Watched before read: a change in between must not be lost.
        let events = events(&config.repositories, wake);
        let mut directories = Directories::open(&config)?;
        let first = Arc::new(directories.read());
        Ok::<_, Error>((events, directories, first))
    })
    .await??;
    let (snapshot, receiver) = watch::channel(first);
    let task = AbortOnDropHandle::new(tokio::spawn(follow(directories, snapshot, woken)));
    Ok((
        receiver,
        Watcher {
            _task: task,
            _events: events,
        },
    ))
}

async fn follow(
    mut directories: Directories,
    snapshot: watch::Sender<Arc<Snapshot>>,
    mut woken: mpsc::Receiver<()>,
) {
    loop {
        // Closed when the system's watch could not be set up: the timeout alone then paces the loop.
        let event = async {
            if woken.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
        };
        let pause = if directories.is_missing_any() {
            dir::GONE_AFTER
        } else {
            RESCAN
        };
        if tokio::time::timeout(pause, event).await.is_ok() {
            tokio::time::sleep(SETTLE).await;
            while woken.try_recv().is_ok() {}
        }
        let reading = tokio::task::spawn_blocking(move || {
            let read = directories.read();
            (directories, read)
        });
        let read;
        (directories, read) = match reading.await {
            Ok(done) => done,
            Err(error) => {
                return tracing::error!(%error, "agent configuration is no longer watched");
            }
        };
        let changed = !read.same(&snapshot.borrow());
        if changed {
            snapshot.send_replace(Arc::new(read));
        }
    }
}

/// Asks the system to tell of changes; without it (too many watches, say) the regular look has to do.
fn events(repositories: &[Repository], wake: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let on_event = move |event: notify::Result<notify::Event>| {
        if event.map_or(true, |event| is_change(event.kind)) {
            // Full means that a wake-up waits already.
            let _ = wake.try_send(());
        }
    };
    let watched = notify::recommended_watcher(on_event).and_then(|mut watcher| {
        repositories.iter().try_for_each(|repository| {
            watcher.watch(&repository.directory, RecursiveMode::Recursive)
        })?;
        Ok(watcher)
    });
    let warn =
        |error| tracing::warn!(%error, "agent configuration is looked at every {RESCAN:?} only");
    watched.map_err(warn).ok()
}

/// Our own reading must not count as a change, or it would wake itself for ever.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(mode)) => mode == notify::event::AccessMode::Write,
        EventKind::Access(_) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
