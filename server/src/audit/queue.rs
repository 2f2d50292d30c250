//! Between the data path and the disk: lines that wait, bounded by their bytes and their number.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::config::OnFailure;
use super::event::Gap;

/// Shared by those who bring lines and the thread that writes them.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    max_bytes: usize,
    refuse: bool,
    /// New requests are to be refused.
    closed: AtomicBool,
    failing: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Whole lines, each with its end.
    lines: Vec<u8>,
    count: usize,
    /// Taken, and not yet written.
    taken: (usize, usize),
    lost: Option<Gap>,
    refused: Option<Gap>,
    reopen: bool,
    stop: bool,
    /// Nobody takes lines any more.
    closed: bool,
    /// The thread is no more.
    ended: bool,
}

/// What the thread takes at once.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) lines: Vec<u8>,
    pub(super) count: usize,
    pub(super) lost: Option<Gap>,
    pub(super) refused: Option<Gap>,
    pub(super) reopen: bool,
    pub(super) stop: bool,
}

/// What may be left out when there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// The line of a request that was let in. Where requests are refused while lines can not be written, such lines wait
    /// however many there are: they are no more than requests that ran when the trouble began.
    Owed,
    /// Any other.
    Light,
}

/// The most lines that wait.
const MAX_LINES: usize = 64 * 1024;
/// How long lines gather before they are written. Waking the thread for each line would cost a busy server more than the
/// line itself.
const GATHER: Duration = Duration::from_millis(5);
/// Memory of the queue beyond this is given back once it is not needed.
const USUAL: usize = 1 << 20;

impl Queue {
    pub(super) fn new(max_bytes: usize, on_failure: OnFailure) -> Self {
        Self {
            waiting: Mutex::default(),
            changed: Condvar::new(),
            max_bytes,
            refuse: on_failure == OnFailure::Refuse,
            closed: AtomicBool::new(false),
            failing: AtomicBool::new(false),
        }
    }

    /// Whether a new request may run.
    pub(super) fn is_open(&self) -> bool {
        !(self.refuse && self.closed.load(Ordering::Relaxed))
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Adds a line, which ends with its end. False: it is lost, and counted here.
    pub(super) fn push(&self, line: &[u8], weight: Weight) -> bool {
        let mut waiting = self.lock();
        let full = self.is_full(&waiting, line.len());
        if waiting.closed || (full && !(self.refuse && weight == Weight::Owed)) {
            Gap::add(&mut waiting.lost, Timestamp::now());
            return false;
        }
        if full {
            self.closed.store(true, Ordering::Relaxed);
        }
        self.add(&mut waiting, line);
        true
    }

    /// Adds a line if there is room; false: there is none now.
    pub(super) fn offer(&self, line: &[u8]) -> bool {
        let mut waiting = self.lock();
        if waiting.closed || self.is_full(&waiting, line.len()) {
            return false;
        }
        self.add(&mut waiting, line);
        true
    }

    fn add(&self, waiting: &mut Waiting, line: &[u8]) {
        if waiting.lines.is_empty() {
            self.changed.notify_all();
        }
        waiting.lines.extend_from_slice(line);
        waiting.count += 1;
    }

    /// A line that could not even be made.
    pub(super) fn lose(&self) {
        Gap::add(&mut self.lock().lost, Timestamp::now());
    }

    /// A request was refused because of [`Self::is_open`]; it has no line.
    pub(super) fn refuse(&self) {
        Gap::add(&mut self.lock().refused, Timestamp::now());
    }

    pub(super) fn reopen(&self) {
        self.lock().reopen = true;
        self.changed.notify_all();
    }

    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }

    /// Waits until there is something to do, or until `deadline`, and takes all of it. `spare` becomes the queue's memory.
    pub(super) fn take(&self, spare: Vec<u8>, deadline: Instant) -> Taken {
        let mut waiting = self.lock();
        while waiting.is_idle() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            waiting = self.wait(waiting, left);
        }
        let gathered = Instant::now() + GATHER;
        while !waiting.stop && !waiting.lines.is_empty() {
            let left = gathered.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            waiting = self.wait(waiting, left);
        }
        waiting.taken = (waiting.lines.len(), waiting.count);
        let mut spare = spare;
        spare.clear();
        spare.shrink_to(USUAL);
        Taken {
            lines: std::mem::replace(&mut waiting.lines, spare),
            count: std::mem::take(&mut waiting.count),
            lost: waiting.lost.take(),
            refused: waiting.refused.take(),
            reopen: std::mem::take(&mut waiting.reopen),
            stop: waiting.stop,
        }
    }

    /// What was taken is written.
    pub(super) fn done(&self) {
        let mut waiting = self.lock();
        waiting.taken = (0, 0);
        self.failing.store(false, Ordering::Relaxed);
        let full = self.is_full(&waiting, 0);
        self.closed.store(full, Ordering::Relaxed);
    }

    /// Lines can not be written; true when that is new.
    pub(super) fn fail(&self) -> bool {
        let _waiting = self.lock();
        self.closed.store(true, Ordering::Relaxed);
        !self.failing.swap(true, Ordering::Relaxed)
    }

    /// Waits so long, or until told to stop; true in that case.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        let mut waiting = self.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if waiting.stop || left.is_zero() {
                return waiting.stop;
            }
            waiting = self.wait(waiting, left);
        }
    }

    /// Nobody takes lines any more; the number of those that are left.
    pub(super) fn close(&self) -> usize {
        let mut waiting = self.lock();
        waiting.closed = true;
        self.closed.store(true, Ordering::Relaxed);
        waiting.count
    }

    /// The thread is no more.
    pub(super) fn end(&self) {
        self.close();
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Waits for [`Self::end`]; false when that does not come in time.
    pub(super) fn ended(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        let mut waiting = self.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if waiting.ended || left.is_zero() {
                return waiting.ended;
            }
            waiting = self.wait(waiting, left);
        }
    }

    fn is_full(&self, waiting: &Waiting, more: usize) -> bool {
        let (bytes, count) = waiting.taken;
        waiting.lines.len() + bytes + more > self.max_bytes || waiting.count + count >= MAX_LINES
    }

    fn wait<'a>(
        &self,
        waiting: MutexGuard<'a, Waiting>,
        time: Duration,
    ) -> MutexGuard<'a, Waiting> {
        let woken = self.changed.wait_timeout(waiting, time);
        woken.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_idle(&self) -> bool {
        self.lines.is_empty()
            && self.lost.is_none()
            && self.refused.is_none()
            && !self.reopen
            && !self.stop
    }
}

#[cfg(test)]
mod tests;
