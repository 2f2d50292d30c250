//! All repositories of the file, followed; or read once, for the command line.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ci_tunnel::config::value::{SecretError, SecretSource};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::Snapshot;
use super::config::{Config, Source};
use super::dir::{self, Directory};
use super::git::{self, Pokes};
use super::kept::Kept;
use super::layer::Layers;
use super::realm::Realm;
use super::webhook::{self, Receiver, Webhooks};
use crate::agents::directory::Agents;
use crate::metrics::Metrics;

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
    #[error(
        "config_repositories: {one} and {other} are of different providers and may both have the repository of one project: \
         say with projects which projects each has"
    )]
    Overlap { one: String, other: String },
    #[error("config_repositories: {url}: webhook_secrets: {source}")]
    WebhookSecret { url: String, source: SecretError },
    #[error("config_repositories: {url}: webhook_secrets: {weak}")]
    WeakWebhookSecret { url: String, weak: webhook::Weak },
    #[error("config_repositories: the first reading did not end: {0}")]
    Reading(#[from] tokio::task::JoinError),
}

/// What repositories are read with.
#[derive(Debug, Clone)]
pub struct Place {
    /// Holds what is known of repositories for the next start.
    pub state_dir: PathBuf,
    pub metrics: Metrics,
}

/// Keeps the snapshot up to date until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    tasks: Vec<AbortOnDropHandle<()>>,
    webhooks: Webhooks,
}

/// How the reading of one git repository ended.
#[derive(Debug)]
pub struct Read {
    pub url: String,
    pub outcome: Outcome,
}

/// How it ended.
#[derive(Debug)]
pub enum Outcome {
    Well,
    Failed(String),
    /// No project that is looked for there has an agent.
    NoProject,
}

/// How long a start waits for projects that were never read before. Until they are, their agents are open to nobody.
const FIRST: Duration = Duration::from_secs(10);

impl Watcher {
    #[cfg(test)]
    pub(super) fn of(task: tokio::task::JoinHandle<()>) -> Self {
        Self {
            tasks: vec![AbortOnDropHandle::new(task)],
            webhooks: Webhooks::default(),
        }
    }

    /// Whether everything that should be followed is. Once it is not, it stays so.
    pub fn is_alive(&self) -> bool {
        !self.tasks.iter().any(AbortOnDropHandle::is_finished)
    }

    /// Where webhooks about the repositories are to be told.
    pub fn webhooks(&self) -> Webhooks {
        self.webhooks.clone()
    }
}

/// Reads all rules for these agents and keeps watching. Directories, and what is known of git repositories, are in the
/// first snapshot.
///
/// # Errors
/// A directory or a webhook's secret can not be read.
pub async fn watch(
    config: &Config,
    place: &Place,
    agents: watch::Receiver<Arc<Agents>>,
) -> Result<(watch::Receiver<Arc<Snapshot>>, Watcher), Error> {
    let layers = layers(config);
    let (mut tasks, mut receivers) = (Vec::new(), Vec::new());
    let (first, mut tried) = mpsc::channel(1);
    for (index, repository) in config.repositories.iter().enumerate() {
        let layer = layers.layer(index);
        match &repository.source {
            Source::Directory(path) => {
                let directory = Directory::open(
                    path.clone(),
                    config.realm(repository),
                    kept(path, place, true)?,
                )?;
                let (layer, read) = (layer.clone(), layer);
                let (directory, events) =
                    tokio::task::spawn_blocking(move || dir::open(directory, &read)).await?;
                tasks.push(spawn(dir::follow(directory, events, layer)));
            }
            Source::Git(remote) => {
                let pokes = Pokes::default();
                receivers.extend(receiver(remote, &pokes)?);
                let source = git_source(remote, config.realm(repository), place, layer);
                tasks.push(spawn(source.follow(agents.clone(), pokes, first.clone())));
            }
        }
    }
    drop(first);
    // Ends when every sender is dropped; nothing is ever sent.
    if tokio::time::timeout(FIRST, tried.recv()).await.is_err() {
        tracing::warn!(
            "not every git repository could be read yet: until then its agents are open to nobody"
        );
    }
    let (snapshots, receiver) = watch::channel(Arc::new(layers.snapshot()));
    tasks.push(spawn(layers.publish(snapshots)));
    let webhooks = Webhooks::new(receivers);
    Ok((receiver, Watcher { tasks, webhooks }))
}

fn layers(config: &Config) -> Layers {
    let remotes = config
        .repositories
        .iter()
        .map(|repository| match &repository.source {
            Source::Directory(_) => None,
            Source::Git(remote) => Some(Arc::clone(remote)),
        });
    Layers::new(remotes, config.default_rules())
}

/// Who takes webhooks about a remote, if anybody does.
fn receiver(remote: &git::Remote, pokes: &Pokes) -> Result<Option<Receiver>, Error> {
    let read = |source: &SecretSource| {
        let url = || remote.url.to_string();
        let secret = source
            .read()
            .map_err(|source| Error::WebhookSecret { url: url(), source })?;
        webhook::check(&secret).map_err(|weak| Error::WeakWebhookSecret { url: url(), weak })?;
        Ok::<_, Error>(secret)
    };
    let secrets = remote
        .webhook_secrets
        .iter()
        .map(read)
        .collect::<Result<Vec<_>, _>>()?;
    Ok((!secrets.is_empty()).then(|| Receiver {
        secrets,
        branch: remote.branch.clone(),
        pokes: pokes.clone(),
    }))
}

fn spawn(future: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(future))
}

/// What a server started now would begin with: directories as they are, git repositories as they were last read. Asks no
/// remote, and writes nothing.
///
/// # Errors
/// A directory can not be read.
pub fn known(config: &Config, place: &Place, agents: &Agents) -> Result<Snapshot, Error> {
    let layers = layers(config);
    for (index, repository) in config.repositories.iter().enumerate() {
        let layer = layers.layer(index);
        match &repository.source {
            Source::Directory(path) => layer.replace(
                Directory::open(
                    path.clone(),
                    config.realm(repository),
                    kept(path, place, false)?,
                )?
                .read(),
            ),
            Source::Git(remote) => {
                git_source(remote, config.realm(repository), place, layer).read_known(agents)
            }
        }
    }
    Ok(layers.snapshot())
}

/// Reads everything anew, beside a server that may be running, and says of each git repository how that ended.
/// `place.state_dir` is for this alone.
///
/// # Errors
/// A directory or a webhook's secret can not be read.
pub async fn check(
    config: &Config,
    place: &Place,
    agents: &Agents,
) -> Result<(Snapshot, Vec<Read>), Error> {
    let layers = layers(config);
    let mut reads = Vec::new();
    for (index, repository) in config.repositories.iter().enumerate() {
        let layer = layers.layer(index);
        match &repository.source {
            Source::Directory(path) => layer.replace(
                Directory::open(
                    path.clone(),
                    config.realm(repository),
                    kept(path, place, false)?,
                )?
                .read(),
            ),
            Source::Git(remote) => {
                receiver(remote, &Pokes::default())?;
                let read = git_source(remote, config.realm(repository), place, layer)
                    .read_once(agents)
                    .await;
                if read.is_empty() {
                    reads.push(Read {
                        url: remote.url.to_string(),
                        outcome: Outcome::NoProject,
                    });
                }
                reads.extend(read.into_iter().map(|(url, failure)| Read {
                    url,
                    outcome: failure.map_or(Outcome::Well, Outcome::Failed),
                }));
            }
        }
    }
    Ok((layers.snapshot(), reads))
}

/// The last good content of a directory's files, which is kept on if `lasting`.
fn kept(path: &Path, place: &Place, lasting: bool) -> Result<Kept, Error> {
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    let name: String = digest
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let directory = root(&place.state_dir).join("directories").join(name);
    let kept = if lasting {
        Kept::open(directory.clone())
    } else {
        Kept::look(directory.clone())
    };
    kept.map_err(|source| Error::Directory { directory, source })
}

fn git_source(
    remote: &Arc<git::Remote>,
    realm: Realm,
    place: &Place,
    layer: super::layer::Layer,
) -> git::Source {
    git::Source {
        remote: Arc::clone(remote),
        realm,
        directory: git::directory_of(&root(&place.state_dir), remote),
        layer,
        metrics: place.metrics.clone(),
    }
}

/// What is known of repositories, in the state directory.
fn root(state_dir: &Path) -> PathBuf {
    state_dir.join("configuration")
}
