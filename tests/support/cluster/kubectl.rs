//! `kubectl`, and what is like it, run by a test with a kubeconfig of its own.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

/// Runs a client program with one kubeconfig.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Kubectl {
    /// `home` is where the program keeps its caches.
    pub fn new(program: PathBuf, kubeconfig: &Path, home: &Path) -> Self {
        Self {
            program,
            kubeconfig: kubeconfig.to_owned(),
            home: home.to_owned(),
        }
    }

    /// The same program as another user or through another address.
    #[must_use]
    pub fn with_kubeconfig(&self, kubeconfig: &Path) -> Self {
        Self::new(self.program.clone(), kubeconfig, &self.home)
    }

    /// The command, for a test that wants its streams; it is killed when dropped.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            // Nothing of whoever runs the tests: no proxies, no other configuration.
            .env_clear()
            .envs(env::var_os("PATH").map(|path| ("PATH", path)))
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs to the end, whatever the exit code.
    pub async fn output<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Output> {
        finish(self.command(args), b"").await
    }

    /// Runs to the end and returns its standard output; fails if it does.
    pub async fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<String> {
        self.run_with(args, b"").await
    }

    /// Like [`Self::run`], with `input` on its standard input.
    pub async fn run_with<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &[u8],
    ) -> Result<String> {
        let command = self.command(args);
        let what = named(&command);
        let output = finish(command, input).await.with_context(|| what.clone())?;
        ensure!(
            output.status.success(),
            "{what} failed ({}):\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).context("its output is not UTF-8")
    }

    /// `kubectl apply` of a manifest.
    pub async fn apply(&self, manifest: &str) -> Result<String> {
        self.run_with(["apply", "-f", "-"], manifest.as_bytes())
            .await
    }
}

/// The program and its arguments, without where the program is.
fn named(command: &Command) -> String {
    let command = command.as_std();
    let program = Path::new(command.get_program()).file_name();
    let words = program.into_iter().chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    words.join(" ")
}

async fn finish(mut command: Command, input: &[u8]) -> Result<Output> {
    command.stdin(Stdio::piped());
    let mut child = command.spawn().context("starting it")?;
    let mut stdin = child.stdin.take().context("it has no standard input")?;
    let both = async {
        // One that does not read its input is as good: its exit code tells.
        let feed = async {
            let _ = stdin.write_all(input).await;
            drop(stdin);
        };
        tokio::join!(feed, child.wait_with_output()).1
    };
    let output = timeout(DEADLINE, both).await;
    Ok(output.context("waiting for it")??)
}

const DEADLINE: Duration = Duration::from_secs(90);
