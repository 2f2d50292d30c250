//! Where audit lines go, and what happens when they can not.

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::output::Output;
use super::record::Record;
use crate::metrics::Metrics;

/// `audit` in the server's file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where lines go. Default: the file `audit.log` in `state_dir`.
    pub output: Option<Output>,
    /// What happens to requests while lines can not be written. Default `count`.
    pub on_failure: OnFailure,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Lines that find the queue full are lost and counted.
    #[default]
    Count,
    /// New requests are refused with 503 until lines can be written again.
    Refuse,
}

/// Why there is no audit.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the audit file {}: {source}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("the audit thread could not be started: {0}")]
    Thread(io::Error),
}

/// Takes lines. Clones share the queue.
#[derive(Debug, Clone)]
pub struct Audit {
    lines: SyncSender<Entry>,
    state: Arc<State>,
    metrics: Metrics,
}

/// The writing thread; join it at the end, so that the last lines are on the disk.
#[derive(Debug)]
pub struct Writer {
    thread: JoinHandle<()>,
    lines: SyncSender<Entry>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    failing: AtomicBool,
    refuse: bool,
    /// Set before the entry that says so, which a full queue does not take and a failing thread does not read.
    stopping: AtomicBool,
}

#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    Reopen,
    Stop,
}

/// Lines that wait for the disk: some seconds at full speed, 16 MiB at the usual length.
const QUEUE: usize = 16 * 1024;
/// How long lines gather before they are written. Waking the thread for each line would cost a busy server more than the
/// line itself.
const GATHER: Duration = Duration::from_millis(5);
/// How often a failing output is tried again.
const RETRY: Duration = Duration::from_millis(500);

impl Config {
    /// Where lines go, the default filled in.
    pub fn output(&self, state_dir: &Path) -> Output {
        let default = || Output::File(state_dir.join("audit.log"));
        self.output.clone().unwrap_or_else(default)
    }
}

impl Audit {
    /// Opens the output and starts the thread that writes to it.
    ///
    /// # Errors
    /// The file can not be opened for appending.
    pub fn start(
        config: &Config,
        state_dir: &Path,
        metrics: Metrics,
    ) -> Result<(Self, Writer), Error> {
        let output = config.output(state_dir);
        let file = output.open()?;
        let state = Arc::new(State {
            failing: AtomicBool::new(false),
            refuse: config.on_failure == OnFailure::Refuse,
            stopping: AtomicBool::new(false),
        });
        let (lines, queue) = sync_channel(QUEUE);
        let writing = Writing {
            output,
            file,
            state: Arc::clone(&state),
            queue,
        };
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writing.run())
            .map_err(Error::Thread)?;
        let audit = Self {
            lines: lines.clone(),
            state: Arc::clone(&state),
            metrics,
        };
        let writer = Writer {
            thread,
            lines,
            state,
        };
        Ok((audit, writer))
    }

    /// Opens the record of a request.
    pub fn open(&self, request_id: String, client: Option<SocketAddr>) -> Record {
        Record::new(self.clone(), request_id, client)
    }

    /// Whether requests may run: false while lines can not be written and the configuration says to refuse.
    pub fn permits_requests(&self) -> bool {
        !(self.state.refuse && self.state.failing.load(Ordering::Relaxed))
    }

    /// Whether lines are being written.
    pub fn is_healthy(&self) -> bool {
        !self.state.failing.load(Ordering::Relaxed)
    }

    /// Opens the file again, after it was moved away.
    pub fn reopen(&self) {
        // A full queue means the output fails; the thread opens it again by itself then.
        let _ = self.lines.try_send(Entry::Reopen);
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn write(&self, line: Vec<u8>) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.lines.try_send(Entry::Line(line))
        {
            self.metrics.audit_lost.inc();
        }
    }
}

impl Writer {
    /// Writes what is queued, if the output takes it, and ends the thread.
    pub fn finish(self) {
        self.state.stopping.store(true, Ordering::SeqCst);
        // A full queue keeps the thread from sleeping, so that it needs no entry to see the mark.
        let _ = self.lines.try_send(Entry::Stop);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the audit thread panicked");
        }
    }
}

struct Writing {
    output: Output,
    file: Option<File>,
    state: Arc<State>,
    queue: Receiver<Entry>,
}

impl Writing {
    fn run(mut self) {
        let mut pending = Vec::new();
        let mut stopping = false;
        while !stopping {
            stopping = self.collect(&mut pending);
            let mut retries = Instant::now();
            while let Err(error) = self.write(&mut pending) {
                if !self.state.failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, output = ?self.output, "audit lines can not be written; they wait");
                }
                if self.stopping() {
                    tracing::error!(bytes = pending.len(), "audit lines are lost at the end");
                    return;
                }
                retries += RETRY;
                std::thread::park_timeout(retries.saturating_duration_since(Instant::now()));
                self.reopen();
            }
            if self.state.failing.swap(false, Ordering::Relaxed) {
                tracing::info!("audit lines are written again");
            }
        }
    }

    fn stopping(&self) -> bool {
        self.state.stopping.load(Ordering::SeqCst)
    }

    /// Waits for lines and takes all that are there; true when told to stop.
    fn collect(&mut self, pending: &mut Vec<u8>) -> bool {
        // Without senders there is nobody left to stop for.
        let mut next = Some(if self.stopping() {
            self.queue.try_recv().unwrap_or(Entry::Stop)
        } else {
            self.queue.recv().unwrap_or(Entry::Stop)
        });
        std::thread::park_timeout(GATHER);
        loop {
            match next {
                Some(Entry::Line(line)) => pending.extend_from_slice(&line),
                Some(Entry::Reopen) => self.reopen(),
                Some(Entry::Stop) => return true,
                None => return false,
            }
            if pending.len() > 1 << 20 {
                return false;
            }
            next = self.queue.try_recv().ok();
        }
    }

    /// Writes `pending` and keeps what the disk did not take.
    fn write(&mut self, pending: &mut Vec<u8>) -> io::Result<()> {
        while !pending.is_empty() {
            let count = match &mut self.file {
                Some(file) => file.write(pending)?,
                None => io::stdout().write(pending)?,
            };
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            pending.drain(..count);
        }
        if self.file.is_none() {
            io::stdout().flush()?;
        }
        Ok(())
    }

    fn reopen(&mut self) {
        match self.output.open() {
            Ok(file) => self.file = file,
            Err(error) => tracing::error!(%error, "the audit output could not be opened again"),
        }
    }
}

/// Whether the output can be opened; its name.
///
/// # Errors
/// It can not.
pub fn check(config: &Config, state_dir: &Path) -> Result<String, Error> {
    let output = config.output(state_dir);
    output.open()?;
    Ok(output.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_that_takes_nothing_does_not_keep_the_program_from_ending() {
        let config = Config {
            output: Some(Output::File("/dev/full".into())),
            on_failure: OnFailure::Refuse,
        };
        let metrics = Metrics::new(&mut prometheus_client::registry::Registry::default());
        let (audit, writer) = Audit::start(&config, Path::new("."), metrics).unwrap();
        drop(audit.open("1".to_owned(), None));
        while audit.is_healthy() {
            std::thread::yield_now();
        }
        assert!(!audit.permits_requests());
        writer.finish();
    }
}
