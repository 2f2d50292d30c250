//! One process of the cluster, which never outlives the test process.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

/// A running program; dropping it kills it and whatever it started.
#[derive(Debug)]
pub(crate) struct Component {
    name: &'static str,
    log: PathBuf,
    process: Child,
}

impl Component {
    /// Starts `program`, its output appended to `log`.
    pub(crate) fn spawn(
        name: &'static str,
        program: &Path,
        args: &[String],
        log: PathBuf,
    ) -> Result<Self> {
        let output = File::options().create(true).append(true).open(&log);
        let output = output.with_context(|| format!("opening the log of {name}"))?;
        let process = Command::new("sh")
            .args(["-c", SUPERVISE, name])
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self { name, log, process })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// How it ended, if it did.
    pub(crate) fn try_wait(&mut self) -> std::io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// Asks `ready` again and again until it says yes. Fails when the component has exited or
    /// `deadline` is over, with the end of its log.
    pub(crate) async fn wait_until(
        &mut self,
        deadline: Duration,
        mut ready: impl AsyncFnMut() -> bool,
    ) -> Result<()> {
        let end = Instant::now() + deadline;
        while !ready().await {
            self.check()?;
            if Instant::now() >= end {
                bail!("{} not ready within {deadline:?}{}", self.name, self.tail());
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Waits until the component has written `line` to its log. (That its port answers says
    /// little: somebody else may have been faster to take it.)
    pub(crate) async fn wait_for_line(&mut self, line: &str, deadline: Duration) -> Result<()> {
        let log = self.log.clone();
        let written = async || fs::read_to_string(&log).is_ok_and(|log| log.contains(line));
        self.wait_until(deadline, written).await
    }

    /// Fails if the process has exited.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.process.try_wait()? {
            Some(status) => bail!("{} ended ({status}){}", self.name, self.tail()),
            None => Ok(()),
        }
    }

    fn tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("; its log ends:\n{}", last.join("\n"))
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // Returns as soon as the group is killed; a process we cannot wait for is not ours.
        let _ = self.process.wait();
    }
}

/// The shell becomes the program, and leaves behind a watcher that kills the group when its
/// standard input closes: by our drop, or by the kernel when the test process is gone.
///
/// `process_group(0)` made the group, so `kill 0` can only reach the program, what it started
/// (the commands of `kubectl exec`) and the watcher.
const SUPERVISE: &str = r#"
exec 3<&0
{ read -r _; kill -9 0; } <&3 3<&- >/dev/null 2>&1 &
exec "$@" </dev/null 3<&-
"#;

const POLL: Duration = Duration::from_millis(50);
const TAIL_LINES: usize = 30;
