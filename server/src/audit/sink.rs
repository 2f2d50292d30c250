//! Where lines are handed over: by requests, by agents, to the thread that writes them.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;

use super::acts;
use super::chain::{KeyError, Mac};
use super::config::Config;
use super::event::{Event, What};
use super::head;
use super::output::Output;
use super::queue::{Queue, Weight};
use super::record::Record;
use super::writing::Writing;
use crate::metrics::Metrics;

/// Why there is no audit.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the audit file {output}: {source}")]
    Open { output: Output, source: io::Error },
    #[error("audit.chain_key_file: {0}")]
    Key(#[from] KeyError),
    #[error("the end of the audit's chain: {0}")]
    Head(#[from] head::Error),
    #[error("the audit thread could not be started: {0}")]
    Thread(io::Error),
}

/// Takes lines. Clones share the queue.
#[derive(Debug, Clone)]
pub struct Audit {
    shared: Arc<Shared>,
}

/// Behind one count: every request's record holds it.
#[derive(Debug)]
struct Shared {
    queue: Arc<Queue>,
    metrics: Metrics,
    state_dir: PathBuf,
}

/// The writing thread; it ends with this, so that the last lines are on the disk.
#[derive(Debug)]
pub struct Writer {
    thread: Option<JoinHandle<()>>,
    queue: Arc<Queue>,
}

/// For the last lines to be written. A pipe that nobody reads holds the thread up for ever.
const LAST: Duration = Duration::from_secs(5);

impl Audit {
    /// Opens the output and starts the thread that writes to it.
    ///
    /// # Errors
    /// A file can not be opened, or another server writes with this `state_dir`.
    pub fn start(
        config: &Config,
        state_dir: &Path,
        metrics: Metrics,
    ) -> Result<(Self, Writer), Error> {
        let queue = Arc::new(Queue::new(config.queue.as_usize(), config.on_failure));
        let clock = Box::new(Timestamp::now);
        let writing = Writing::begin(
            config,
            state_dir,
            Arc::clone(&queue),
            metrics.clone(),
            clock,
        )?;
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writing.run())
            .map_err(Error::Thread)?;
        let writer = Writer {
            thread: Some(thread),
            queue: Arc::clone(&queue),
        };
        let shared = Shared {
            queue,
            metrics,
            state_dir: state_dir.to_owned(),
        };
        let audit = Self {
            shared: Arc::new(shared),
        };
        Ok((audit, writer))
    }

    /// Opens the record of a request.
    pub fn open(&self, request_id: String, client: Option<SocketAddr>) -> Record {
        Record::new(self.clone(), request_id, client)
    }

    /// Writes a line that tells of something else than a request.
    pub fn event(&self, what: What) {
        self.write(&line_of(Timestamp::now(), what), Weight::Light);
    }

    /// Writes the lines of what commands did beside this server. Those for which there is no room now stay for later.
    pub fn collect_acts(&self) {
        let take = |time, what| self.queue().offer(&line_of(time, what));
        if let Err(error) = acts::collect(&self.shared.state_dir, take) {
            tracing::error!(%error, "what commands did can not be read, and is in no audit line yet");
        }
    }

    /// Whether lines are being written.
    pub fn is_healthy(&self) -> bool {
        !self.queue().is_failing()
    }

    /// Opens the file again, after it was moved away.
    pub fn reopen(&self) {
        self.queue().reopen();
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.shared.queue
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    pub(super) fn write(&self, line: &[u8], weight: Weight) {
        if !self.queue().push(line, weight) {
            self.metrics().audit_lost.inc();
        }
    }
}

impl Writer {
    /// Writes what waits, if the output takes it, and ends the thread.
    pub fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        self.queue.stop();
        if !self.queue.ended(LAST) {
            tracing::error!("audit lines are lost at the end: the output takes none");
        } else if thread.join().is_err() {
            tracing::error!("the audit thread panicked");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

fn line_of(time: Timestamp, what: What) -> Vec<u8> {
    let mut line =
        serde_json::to_vec(&Event { time, what }).expect("an event is texts, numbers and times");
    line.push(b'\n');
    line
}

/// Whether lines could be written now; where they go.
///
/// # Errors
/// They could not.
pub fn check(config: &Config, state_dir: &Path) -> Result<String, Error> {
    Mac::new(config.chain_key_file.as_deref())?;
    let output = config.output(state_dir);
    match output.check() {
        Ok(()) => Ok(output.to_string()),
        Err(source) => Err(Error::Open { output, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::OnFailure;
    use super::*;

    #[test]
    fn an_output_that_takes_nothing_does_not_keep_the_program_from_ending() {
        for (on_failure, may_run) in [(OnFailure::Refuse, false), (OnFailure::Count, true)] {
            let state = tempfile::tempdir().unwrap();
            let config = Config {
                output: Some(Output::File("/dev/full".into())),
                on_failure,
                ..Config::default()
            };
            let metrics = Metrics::new(&mut prometheus_client::registry::Registry::default());
            let (audit, writer) = Audit::start(&config, state.path(), metrics.clone()).unwrap();
            while audit.is_healthy() {
                std::thread::yield_now();
            }
            let record = audit.open("1".to_owned(), None);
            assert_eq!(record.may_run(), may_run);
            drop(record);
            writer.finish();
            assert_eq!(metrics.audit_lost.get(), u64::from(may_run));
        }
    }
}
