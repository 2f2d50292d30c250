//! A server or an agent as a process that a test may stop, kill and start again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::time::sleep;

use crate::cluster::component::Component;
use crate::deadline::{within, within_time};
use crate::process::Signal;

/// A program with its arguments and log, running or not.
#[derive(Debug)]
pub struct Program {
    name: &'static str,
    arguments: Vec<String>,
    log: PathBuf,
    /// What it writes when it is ready; empty: it is so at once.
    ready: &'static str,
    run: Mutex<Run>,
}

#[derive(Debug, Default)]
struct Run {
    process: Option<Component>,
    /// How long the log was when the process started.
    log_began: usize,
}

impl Program {
    pub(super) fn new(
        name: &'static str,
        program: &Path,
        arguments: &[&str],
        log: PathBuf,
        ready: &'static str,
    ) -> Self {
        // Nothing of whoever runs the tests: no log levels, no configuration.
        let mut all = vec!["-i".to_owned()];
        all.extend(std::env::var("PATH").map(|path| format!("PATH={path}")));
        all.push(program.display().to_string());
        all.extend(arguments.iter().map(ToString::to_string));
        Self {
            name,
            arguments: all,
            log,
            ready,
            run: Mutex::default(),
        }
    }

    /// The same program with a log of its own, not started.
    pub(super) fn again(&self, log: &Path) -> Self {
        Self {
            name: self.name,
            arguments: self.arguments.clone(),
            log: log.to_owned(),
            ready: self.ready,
            run: Mutex::default(),
        }
    }

    /// Starts it, after whatever ran before was killed, and waits until it is ready.
    pub async fn start(&self) -> Result<()> {
        {
            let mut run = self.run.lock().unwrap();
            // Before the new one is there: they may need the same ports.
            run.process = None;
            run.log_began = fs::read(&self.log).map_or(0, |log| log.len());
            let process = Component::spawn(
                self.name,
                Path::new("env"),
                &self.arguments,
                self.log.clone(),
            )?;
            run.process = Some(process);
        }
        if !self.ready.is_empty() {
            self.wait_for_line(self.ready, |line| line.contains(self.ready))
                .await?;
        }
        Ok(())
    }

    /// Kills it and starts it again.
    pub async fn restart(&self) -> Result<()> {
        self.start().await
    }

    /// The process's id.
    pub fn pid(&self) -> Result<u32> {
        let run = self.run.lock().unwrap();
        let process = run.process.as_ref().map(Component::pid);
        process.with_context(|| format!("{} does not run", self.name))
    }

    /// Sends a signal to this process, and to no other.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let mut run = self.run.lock().unwrap();
        let process = run.process.as_mut();
        let process = process.with_context(|| format!("{} does not run", self.name))?;
        // A process that was waited for may have lent its id to another.
        process.check()?;
        let pid = process.pid().to_string();
        let status = Command::new("kill").arg(signal.flag()).arg(pid).status();
        let status = status.context("running kill")?;
        ensure!(status.success(), "kill of {}: {status}", self.name);
        Ok(())
    }

    /// Kills it at once; it is gone, with its sockets, when this returns.
    pub fn kill(&self) {
        self.run.lock().unwrap().process = None;
    }

    /// Freezes it until [`Self::cont`].
    pub fn stop(&self) -> Result<()> {
        self.signal(Signal::Stop)
    }

    pub fn cont(&self) -> Result<()> {
        self.signal(Signal::Cont)
    }

    /// Asks it to end gracefully.
    pub fn term(&self) -> Result<()> {
        self.signal(Signal::Term)
    }

    /// Waits for it to end by itself.
    pub async fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        let ended = async {
            loop {
                let status = match &mut self.run.lock().unwrap().process {
                    Some(process) => process.try_wait()?,
                    None => bail!("{} does not run", self.name),
                };
                match status {
                    Some(status) => return Ok(status),
                    None => sleep(POLL).await,
                }
            }
        };
        within_time(limit, &format!("{} to end", self.name), ended).await?
    }

    /// What it wrote since its last start.
    pub fn lines(&self) -> Vec<String> {
        let log = fs::read(&self.log).unwrap_or_default();
        let began = self.run.lock().unwrap().log_began.min(log.len());
        let log = String::from_utf8_lossy(&log[began..]);
        log.lines().map(str::to_owned).collect()
    }

    /// The first line since its last start that satisfies `wanted`, written already or to come.
    pub async fn wait_for_line(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let found = async {
            loop {
                // Looked at before the log is read: its last words count.
                let alive = match &mut self.run.lock().unwrap().process {
                    Some(process) => process.try_wait()?.is_none(),
                    None => false,
                };
                if let Some(line) = self.lines().into_iter().find(|line| wanted(line)) {
                    return Ok(line);
                }
                ensure!(alive, "{} has ended", self.name);
                sleep(POLL).await;
            }
        };
        let found = within(what, found).await.and_then(|found| found);
        found.with_context(|| format!("waiting for {what}; {}", self.tail(20)))
    }

    /// The last lines that it wrote, under a heading.
    pub fn tail(&self, count: usize) -> String {
        let lines = self.lines();
        let last = &lines[lines.len().saturating_sub(count)..];
        format!("{} wrote:\n{}\n", self.name, last.join("\n"))
    }

    /// The file of its log.
    pub fn log(&self) -> &Path {
        &self.log
    }
}

const POLL: Duration = Duration::from_millis(10);
