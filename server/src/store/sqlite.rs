//! The embedded backend: SQLite, one file in the state directory, shared between processes.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use sqlx::FromRow;
use sqlx::migrate::Migrator;
use sqlx::query::{Query, QueryAs};
use sqlx::sqlite::{
    Sqlite as Driver, SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteQueryResult, SqliteRow, SqliteSynchronous,
};

use tokio::time::{Instant, sleep};

use super::Error;
use super::backend::{Answer, Backend};

mod agent_tokens;
mod agents;
mod job_tokens;
mod secrets;

static MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations/sqlite");

/// In the state directory.
pub const FILE_NAME: &str = "store.sqlite";
/// How long a writer waits for another process's write, and a query for a free connection.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const BUSY_RETRY: Duration = Duration::from_millis(20);
const READERS: u32 = 4;

#[derive(Debug)]
pub(super) struct Sqlite {
    file: PathBuf,
    readers: SqlitePool,
    /// One connection: SQLite has one writer at a time, and waiting for a connection is fairer than for a lock.
    writer: SqlitePool,
}

impl Sqlite {
    pub(super) async fn open(state_dir: &Path) -> Result<Self, Error> {
        let file = state_dir.join(FILE_NAME);
        private_file(state_dir, &file)?;
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .journal_mode(SqliteJournalMode::Wal)
            // A revocation must survive a power cut; writes are rare.
            .synchronous(SqliteSynchronous::Full);
        let writer = pool(1).connect_lazy_with(with_defaults(options.clone()));
        let readers = pool(READERS).connect_lazy_with(with_defaults(options));
        let sqlite = Self {
            file,
            readers,
            writer,
        };
        sqlite.prepare().await?;
        Ok(sqlite)
    }

    pub(super) async fn in_memory() -> Result<Self, Error> {
        let options = with_defaults(SqliteConnectOptions::new().in_memory(true));
        // The database lives in its one connection, which therefore must never be closed.
        let pool = pool(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options);
        let sqlite = Self {
            file: "in-memory store".into(),
            readers: pool.clone(),
            writer: pool,
        };
        sqlite.migrate().await?;
        Ok(sqlite)
    }

    /// A file that can not grow, as on a full disk.
    #[cfg(test)]
    pub(super) async fn open_full(state_dir: &Path) -> Self {
        let sqlite = Self::open(state_dir).await.unwrap();
        sqlx::query("PRAGMA max_page_count = 1")
            .execute(&sqlite.writer)
            .await
            .unwrap();
        sqlite
    }

    /// Switching a new file to write-ahead logging does not wait for others that do the same at that moment: try again.
    async fn prepare(&self) -> Result<(), Error> {
        let deadline = Instant::now() + BUSY_TIMEOUT;
        loop {
            match self.migrate().await {
                Err(Error::Busy { .. }) if Instant::now() < deadline => sleep(BUSY_RETRY).await,
                done => return done,
            }
        }
    }

    /// Within one exclusive transaction, because several processes may open a new store at the same time.
    async fn migrate(&self) -> Result<(), Error> {
        let mut exclusive = self
            .writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(|error| self.explain(error))?;
        MIGRATIONS
            .run_direct(&mut *exclusive)
            .await
            .map_err(|source| Error::Migrate {
                file: self.file.clone(),
                source,
            })?;
        exclusive
            .commit()
            .await
            .map_err(|error| self.explain(error))
    }

    async fn all<T: ReadRow>(&self, select: Select<'_, T>) -> Result<Vec<T>, Error> {
        select
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.explain(error))
    }

    async fn one<T: ReadRow>(&self, select: Select<'_, T>) -> Result<Option<T>, Error> {
        select
            .fetch_optional(&self.readers)
            .await
            .map_err(|error| self.explain(error))
    }

    async fn write(&self, statement: Write<'_>) -> Result<SqliteQueryResult, Error> {
        statement
            .execute(&self.writer)
            .await
            .map_err(|error| self.explain(error))
    }

    fn damaged(&self, what: String) -> Error {
        Error::Row {
            file: self.file.clone(),
            what,
        }
    }

    fn unsigned(&self, number: i64) -> Result<u64, Error> {
        u64::try_from(number).map_err(|_| self.damaged(format!("the number {number}")))
    }

    /// What a failed statement means for the operator.
    fn explain(&self, source: sqlx::Error) -> Error {
        let file = self.file.clone();
        if matches!(source, sqlx::Error::PoolTimedOut) {
            return Error::Busy {
                file,
                seconds: BUSY_TIMEOUT.as_secs(),
                source,
            };
        }
        match primary_code(&source) {
            Some(5 | 6) => Error::Busy {
                file,
                seconds: BUSY_TIMEOUT.as_secs(),
                source,
            },
            Some(8 | 14) => Error::Access { file, source },
            Some(10) => Error::Io { file, source },
            Some(11 | 26) => Error::Damaged { file, source },
            Some(13) => Error::Full { file, source },
            _ => Error::Query { file, source },
        }
    }
}

impl Backend for Sqlite {
    fn generation(&self) -> Answer<'_, u64> {
        Box::pin(async move {
            let row: Option<(i64,)> = self
                .one(sqlx::query_as("SELECT value FROM generation"))
                .await?;
            let (value,) = row.ok_or_else(|| self.damaged("the table `generation`".to_owned()))?;
            self.unsigned(value)
        })
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            self.readers.close().await;
            self.writer.close().await;
        })
    }
}

/// A row that can cross threads, as a tuple of columns.
trait ReadRow: for<'r> FromRow<'r, SqliteRow> + Send + Unpin {}

impl<T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin> ReadRow for T {}

type Select<'q, T> = QueryAs<'q, Driver, T, SqliteArguments<'q>>;
type Write<'q> = Query<'q, Driver, SqliteArguments<'q>>;

/// `id` as a column; one beyond SQLite's numbers is no row's.
fn key(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(-1)
}

/// SQLite's result code without its extension (<https://www.sqlite.org/rescode.html>).
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(BUSY_TIMEOUT)
}

fn with_defaults(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options.busy_timeout(BUSY_TIMEOUT).foreign_keys(true)
}

/// Makes the directory and file where they are missing; the file is its owner's alone (SQLite gives its side files the
/// same mode). A file that is there is never opened here: closing it would drop the locks SQLite holds in this process.
fn private_file(dir: &Path, file: &Path) -> Result<(), Error> {
    let failed = |path: &Path| {
        let file = path.to_owned();
        move |source| Error::File { file, source }
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(failed(dir))?;
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
    {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(file)(error)),
    }
    let mode = file.metadata().map_err(failed(file))?.permissions().mode() & 0o777;
    if mode != 0o600 {
        let mode = format!("{mode:o}");
        tracing::warn!(file = %file.display(), mode, "the store was open to others: now 600");
        fs::set_permissions(file, Permissions::from_mode(0o600)).map_err(failed(file))?;
    }
    Ok(())
}
