//! The `git` program: run with an environment of its own, a deadline and a bound on what it may say.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::complaint::explain;

/// Why a run gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the program git can not be run: {0}")]
    Start(#[source] std::io::Error),
    #[error("git {command}: no end within {}s", after.as_secs())]
    Timeout { command: String, after: Duration },
    #[error("git {command}: more than {limit} bytes")]
    TooMuch { command: String, limit: usize },
    #[error("git {command}: {message}")]
    Failed { command: String, message: String },
}

/// How git is run on one repository.
#[derive(Clone)]
pub(super) struct Git {
    directory: PathBuf,
    environment: Vec<(OsString, OsString)>,
    timeout: Duration,
}

impl std::fmt::Debug for Git {
    // The environment holds credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Git")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// What a run printed.
#[derive(Debug)]
pub(super) enum Printed {
    All(Vec<u8>),
    /// There was more.
    Begin(Vec<u8>),
}

/// Bytes of a file that git writes, a pack above all.
const MAX_WRITTEN: u64 = 512 * 1024 * 1024;
/// Bytes of git's complaints that are looked at.
const MAX_COMPLAINT: u64 = 16 * 1024;

impl Git {
    /// On the bare repository `directory`, with these variables and no other.
    pub(super) fn new(
        directory: &Path,
        environment: Vec<(OsString, OsString)>,
        timeout: Duration,
    ) -> Self {
        Self {
            directory: directory.to_owned(),
            environment,
            timeout,
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Runs it to its end; what it prints, if that is no more than `limit` bytes.
    pub(super) async fn run(&self, arguments: &[&str], limit: usize) -> Result<Vec<u8>, Error> {
        match self.feed(arguments, "", limit).await? {
            Printed::All(output) => Ok(output),
            Printed::Begin(_) => Err(Error::TooMuch {
                command: arguments.first().copied().unwrap_or_default().to_owned(),
                limit,
            }),
        }
    }

    /// Runs it with this as its input. Once it has printed more than `limit` bytes, it is ended.
    pub(super) async fn feed(
        &self,
        arguments: &[&str],
        input: &str,
        limit: usize,
    ) -> Result<Printed, Error> {
        let command = || arguments.first().copied().unwrap_or_default().to_owned();
        let (mut child, group) = self.spawn(arguments)?;
        let ended = tokio::time::timeout(self.timeout, end(&mut child, input, limit)).await;
        let ended = ended.map_err(|_| Error::Timeout {
            command: command(),
            after: self.timeout,
        })?;
        let (output, complaint, status) = ended.map_err(Error::Start)?;
        let Some(status) = status else {
            return Ok(Printed::Begin(output));
        };
        group.ended();
        if status.success() {
            return Ok(Printed::All(output));
        }
        Err(Error::Failed {
            command: command(),
            message: explain(&complaint, &status.to_string()),
        })
    }

    fn spawn(&self, arguments: &[&str]) -> Result<(Child, Group), Error> {
        let mut command = Command::new("git");
        command
            .args(arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("GIT_DIR", &self.directory)
            .current_dir(&self.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().map_err(Error::Start)?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let limit = Rlimit {
            current: Some(MAX_WRITTEN),
            maximum: Some(MAX_WRITTEN),
        };
        if pid.is_some() {
            // An error says that it has ended. What it starts inherits this.
            let _ = prlimit(pid, Resource::Fsize, limit);
        }
        let group = Group(pid);
        Ok((child, group))
    }
}

/// What it prints, one byte over the limit at most, what it complains of, and its status; none where it prints more.
async fn end(
    child: &mut Child,
    input: &str,
    limit: usize,
) -> std::io::Result<(Vec<u8>, Vec<u8>, Option<ExitStatus>)> {
    if let Some(mut stdin) = child.stdin.take() {
        // It may have ended already; its status says why.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let output = read(stdout, limit as u64 + 1, false);
    let complaint = read(stderr, MAX_COMPLAINT, true);
    let mut output = std::pin::pin!(output);
    let mut complaint = std::pin::pin!(complaint);
    let (output, complaint) = tokio::select! {
        output = &mut output => {
            let output = output?;
            if output.len() > limit {
                return Ok((output, Vec::new(), None));
            }
            (output, complaint.await?)
        }
        complaint = &mut complaint => (output.await?, complaint?),
    };
    if output.len() > limit {
        return Ok((output, complaint, None));
    }
    Ok((output, complaint, Some(child.wait().await?)))
}

async fn read(
    stream: Option<impl AsyncRead + Unpin>,
    limit: u64,
    drain: bool,
) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        let mut bounded = stream.take(limit);
        bounded.read_to_end(&mut bytes).await?;
        if drain {
            tokio::io::copy(&mut bounded.into_inner(), &mut tokio::io::sink()).await?;
        }
    }
    Ok(bytes)
}

/// git and what it started, ssh most often. All are killed unless they have ended.
struct Group(Option<Pid>);

impl Group {
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // It may be gone already.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(directory: &Path, timeout: Duration) -> Git {
        let path = std::env::var_os("PATH").unwrap();
        Git::new(directory, vec![("PATH".into(), path)], timeout)
    }

    #[tokio::test]
    async fn gives_what_git_prints_within_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let git = git(directory.path(), Duration::from_secs(30));
        let version = git.run(&["version"], 100).await.unwrap();
        assert!(version.starts_with(b"git version"), "{version:?}");
        let error = git.run(&["version"], 5).await.unwrap_err();
        assert!(matches!(error, Error::TooMuch { limit: 5, .. }), "{error}");
        let error = git
            .run(&["rev-parse", "HEAD"], 100)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("git rev-parse: fatal: not a git repository"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn what_does_not_end_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let git = git(directory.path(), Duration::from_millis(300));
        // An alias runs a shell: a grandchild that holds the pipes.
        let slow = ["-c", "alias.slow=!sleep 1000 & echo $! > pid; wait", "slow"];
        let error = git.run(&slow, 100).await.unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        let pid = std::fs::read_to_string(directory.path().join("pid")).unwrap();
        let state = Path::new("/proc").join(pid.trim()).join("stat");
        let gone = || std::fs::read_to_string(&state).map_or(true, |stat| stat.contains(" Z "));
        tokio::time::timeout(Duration::from_secs(10), async {
            while !gone() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }
}
