//! The thread that writes: seals lines into the chain, keeps what the output does not take, closes files, syncs.

mod begin;
mod rotation;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::chain::{Chain, OVERHEAD};
use super::config::{Rotate, Sync};
use super::event::{Event, What};
use super::head::HeadFile;
use super::output::{Open, Output};
use super::queue::Queue;
use super::rotate;
use crate::metrics::Metrics;

/// Tells the time of events and of rotation.
pub(super) type Clock = Box<dyn Fn() -> Timestamp + Send>;

/// Everything that the thread has.
pub(super) struct Writing {
    queue: Arc<Queue>,
    output: Output,
    open: Open,
    chain: Chain,
    head: HeadFile,
    rotate: Option<Rotate>,
    sync: Sync,
    metrics: Metrics,
    clock: Clock,
    /// Lines of the chain that are not written, or not all of them.
    sealed: Vec<u8>,
    /// How many bytes of these are.
    written: usize,
    /// Lines that were taken from the queue and are not yet written; and how many of these are sealed.
    owed: usize,
    owed_sealed: usize,
    /// Another output than before is to be told of in a line.
    reopened: bool,
    /// When what is written must be on the disk.
    sync_by: Option<Instant>,
    /// After a rotation that failed: not before this.
    rotate_after: Option<Instant>,
    /// When to give up, once told to stop.
    give_up: Option<Instant>,
}

/// Told to stop while lines can not be written.
#[derive(Debug)]
pub(super) struct GivenUp;

/// Tells the queue that nobody takes from it any more, however the thread ends.
struct End(Arc<Queue>);

/// How often a failing output is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// The same once the program ends, and for how long.
const LAST_RETRY: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(2);
/// How long a rotation that failed is left alone.
const ROTATE_AGAIN: Duration = Duration::from_secs(60);
/// How many bytes are sealed before they are written.
const CHUNK: usize = 256 << 10;
/// The thread looks at the clock at least so often, since that can be set.
const LOOK: Duration = Duration::from_secs(30);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Writing {
    /// Writes until told to stop.
    pub(super) fn run(mut self) {
        let _end = End(Arc::clone(&self.queue));
        if self.serve().is_err() {
            let lines = self.queue.close() + self.owed;
            self.metrics
                .audit_lost
                .inc_by(u64::try_from(lines).unwrap_or(u64::MAX));
            tracing::error!(lines, output = %self.output, "audit lines are lost at the end");
        }
    }

    fn serve(&mut self) -> Result<(), GivenUp> {
        self.flush()?;
        self.queue.done();
        let mut spare = Vec::new();
        loop {
            let taken = self.queue.take(std::mem::take(&mut spare), self.deadline());
            self.owed += taken.count;
            if taken.reopen {
                self.reopen();
            }
            self.rotate_by_time()?;
            for line in taken.lines.split_inclusive(|byte| *byte == b'\n') {
                self.line(&line[..line.len() - 1])?;
            }
            if let Some(lost) = taken.lost {
                self.event(What::Lost(lost))?;
            }
            if let Some(refused) = taken.refused {
                self.event(What::Refused(refused))?;
            }
            if taken.stop && taken.lines.is_empty() {
                return self.stop();
            }
            self.settle()?;
            spare = taken.lines;
        }
    }

    /// Until when there is nothing to do without lines.
    fn deadline(&self) -> Instant {
        let now = Instant::now();
        let period = self
            .rotate
            .as_ref()
            .and_then(|settings| rotate::left(settings, (self.clock)()))
            .map_or(LOOK, |left| left.min(LOOK));
        self.sync_by.map_or(now + period, |by| by.min(now + period))
    }

    /// Writes what is sealed, and makes it durable if it is time; then all is well.
    fn settle(&mut self) -> Result<(), GivenUp> {
        self.flush()?;
        if std::mem::take(&mut self.reopened) {
            self.event(What::Reopened)?;
            self.flush()?;
        }
        if self.sync_by.is_some_and(|by| by <= Instant::now()) {
            self.insist(Self::make_durable)?;
        }
        if self.queue.is_failing() {
            tracing::info!("audit lines are written again");
        }
        self.queue.done();
        Ok(())
    }

    fn stop(&mut self) -> Result<(), GivenUp> {
        self.event(What::Stop)?;
        self.flush()?;
        if self.sync != Sync::Never {
            self.insist(Self::make_durable)?;
        }
        self.head.save(self.chain.head(), true);
        Ok(())
    }

    /// Adds a line of a request or of an agent.
    fn line(&mut self, line: &[u8]) -> Result<(), GivenUp> {
        self.seal(line)?;
        self.owed_sealed += 1;
        if self.sealed.len() >= CHUNK {
            self.flush()?;
        }
        Ok(())
    }

    fn event(&mut self, what: What) -> Result<(), GivenUp> {
        let line = self.text(what);
        self.seal(&line)
    }

    /// Adds an event to this very file.
    fn put(&mut self, what: What) {
        let line = self.text(what);
        self.add(&line);
    }

    fn text(&self, what: What) -> Vec<u8> {
        let time = (self.clock)();
        serde_json::to_vec(&Event { time, what }).expect("an event is texts, numbers and times")
    }

    /// Adds a line, to the next file if this one is full.
    fn seal(&mut self, line: &[u8]) -> Result<(), GivenUp> {
        let more = line.len() as u64 + OVERHEAD;
        if let (Some(settings), Open::File(file)) = (&self.rotate, &self.open) {
            let unwritten = (self.sealed.len() - self.written) as u64;
            if rotate::is_full(settings, file.length() + unwritten, more) {
                self.rotate()?;
            }
        }
        self.add(line);
        Ok(())
    }

    fn add(&mut self, line: &[u8]) {
        self.chain.seal(line, &mut self.sealed);
        if let Open::File(file) = &mut self.open
            && file.begun().is_none()
        {
            file.begin((self.clock)());
        }
    }

    fn flush(&mut self) -> Result<(), GivenUp> {
        if self.sealed.is_empty() {
            return Ok(());
        }
        self.insist(Self::write)?;
        self.sealed.clear();
        self.sealed.shrink_to(2 * CHUNK);
        self.written = 0;
        self.owed -= std::mem::take(&mut self.owed_sealed);
        self.head.save(self.chain.head(), false);
        let by = match self.sync {
            Sync::Batch => Some(Instant::now()),
            Sync::Every(time) => Some(Instant::now() + time),
            Sync::Never => None,
        };
        self.sync_by = self.sync_by.or(by);
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        while self.written < self.sealed.len() {
            self.written += self.open.write(&self.sealed[self.written..])?;
        }
        Ok(())
    }

    fn make_durable(&mut self) -> io::Result<()> {
        self.open.sync()?;
        self.sync_by = None;
        Ok(())
    }

    /// Does something until it succeeds.
    fn insist(&mut self, act: fn(&mut Self) -> io::Result<()>) -> Result<(), GivenUp> {
        while let Err(error) = act(self) {
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            if self.queue.fail() {
                tracing::error!(%error, output = %self.output, "audit lines can not be written; they wait");
            }
            if !self.open.is_continuous() {
                self.begin_line_again();
            }
            self.pause()?;
            self.reopen();
        }
        Ok(())
    }

    /// Waits before the next try; once told to stop, not for long.
    fn pause(&mut self) -> Result<(), GivenUp> {
        if !self.queue.pause(RETRY) {
            return Ok(());
        }
        let give_up = *self.give_up.get_or_insert_with(|| Instant::now() + LAST);
        if Instant::now() >= give_up {
            return Err(GivenUp);
        }
        std::thread::park_timeout(LAST_RETRY);
        Ok(())
    }

    fn reopen(&mut self) {
        match self.open.reopen() {
            Ok(true) => self.begin_line_again(),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, output = %self.output, "the audit output could not be opened again");
            }
        }
    }

    /// The output is another one: what was written of a line stays where it is, and the line is written whole.
    fn begin_line_again(&mut self) {
        let written = &self.sealed[..self.written];
        let end = written.iter().rposition(|byte| *byte == b'\n');
        self.written = end.map_or(0, |end| end + 1);
        self.reopened = true;
    }
}
