//! What the server must not forget: agents, the hashes of their tokens, signing keys, issued and revoked job tokens.
//!
//! A [`Store`] speaks the server's words; a [`Backend`](backend::Backend) keeps rows. The embedded backend is SQLite in
//! the state directory, which the running server shares with the commands run beside it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

mod agent_token;
mod agents;
mod backend;
mod background;
mod job_tokens;
mod last_used;
mod secrets;
mod sqlite;
#[cfg(test)]
mod suite;
#[cfg(test)]
mod tests;
mod time;

pub use agent_token::{AgentToken, InvalidToken};
pub use agents::Refusal;
pub use backend::{AgentTokenId, AgentTokenRecord, JobTokenRecord, Registration, Revocation};
pub use secrets::SecretKey;
pub use sqlite::FILE_NAME;

use backend::Backend;
use last_used::LastUsed;

/// Why the store did not do what it was asked to. The messages name the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {source}: let this user read and write the file and its directory", file.display())]
    Access { file: PathBuf, source: sqlx::Error },
    #[error("agent {agent} exists already: its id is {id}; see `agent show {id}`")]
    AgentExists { agent: String, id: u64 },
    #[error("the agent id {0} is not possible: from 1 to {max}", max = 1_u64 << 52)]
    AgentIdRange(u64),
    #[error(
        "the agent id {0} is taken: another agent has it, or had it before it was deleted; see `agent list`"
    )]
    AgentIdTaken(u64),
    #[error("{file}: busy for more than {seconds} s: another process holds its lock", file = file.display())]
    Busy {
        file: PathBuf,
        seconds: u64,
        source: sqlx::Error,
    },
    #[error("{file}: not a ci-tunnel store or damaged: {source}; restore it from a backup", file = file.display())]
    Damaged { file: PathBuf, source: sqlx::Error },
    #[error("{}: {source}", file.display())]
    File {
        file: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: no space left: free some on its disk, then try again; nothing was changed", file.display())]
    Full { file: PathBuf, source: sqlx::Error },
    #[error("{}: the disk failed or is full ({source}); nothing was changed", file.display())]
    Io { file: PathBuf, source: sqlx::Error },
    #[error("{}: could not bring the store to this version's form: {source}", file.display())]
    Migrate {
        file: PathBuf,
        source: sqlx::migrate::MigrateError,
    },
    #[error("{}: {source}", file.display())]
    Query { file: PathBuf, source: sqlx::Error },
    #[error("{file}: {what} is damaged: restore it from a backup", file = file.display())]
    Row { file: PathBuf, what: String },
    #[error("no agent {0}: see `agent list`")]
    UnknownAgent(String),
    #[error("no agent token {0}: see `agent token list`")]
    UnknownAgentToken(AgentTokenId),
}

/// An open store. Clones are handles of the same one.
#[derive(Debug, Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
    changes: watch::Sender<u64>,
    last_used: Arc<LastUsed>,
    _background: Arc<AbortOnDropHandle<()>>,
}

impl Store {
    /// Opens, and where it is missing makes, the embedded store in `state_dir`.
    ///
    /// # Errors
    /// The directory or file can not be made, opened or brought to this version's form.
    pub async fn open(state_dir: &Path) -> Result<Self, Error> {
        Self::on(Arc::new(sqlite::Sqlite::open(state_dir).await?)).await
    }

    /// A store that ends with the process.
    ///
    /// # Errors
    /// SQLite can not be started.
    pub async fn in_memory() -> Result<Self, Error> {
        Self::on(Arc::new(sqlite::Sqlite::in_memory().await?)).await
    }

    async fn on(backend: Arc<dyn Backend>) -> Result<Self, Error> {
        let changes = watch::Sender::new(backend.generation().await?);
        let last_used = Arc::new(LastUsed::default());
        let background = background::run(backend.clone(), changes.clone(), last_used.clone());
        let background = Arc::new(AbortOnDropHandle::new(tokio::spawn(background)));
        Ok(Self {
            backend,
            changes,
            last_used,
            _background: background,
        })
    }

    /// A number that grows whenever agents, agent tokens or revocations change, by this process at once, by another
    /// within about a second.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Writes what is still held back and closes the files.
    pub async fn close(&self) {
        self.last_used.flush(self.backend.as_ref()).await;
        self.backend.close().await;
    }

    /// Publishes a change of this process without waiting for the poll. That finds it when this can not.
    async fn changed(&self) {
        if let Ok(generation) = self.backend.generation().await {
            publish(&self.changes, generation);
        }
    }
}

fn publish(changes: &watch::Sender<u64>, generation: u64) {
    changes.send_if_modified(|published| {
        let newer = generation > *published;
        *published = generation.max(*published);
        newer
    });
}
