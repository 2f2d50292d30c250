//! Checking the chain: whether lines were changed, removed, inserted or moved, and where.

mod finding;
mod stray;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::chain::{Head, Mac, Sealed};
use super::event::{After, Event, What};
use super::files::Source;
use super::query::Error;
use super::raw::{RawLine, RawLines};

use stray::Stray;

pub use finding::{Finding, Noted, Wrong};

/// What the chain must be.
#[derive(Debug, Default)]
pub struct Expected {
    /// The keys that it may be made with; none for a chain without a key.
    pub keys: Vec<Mac>,
    /// A line that was seen before, and must be there.
    pub line: Option<Head>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    pub files: usize,
    /// Lines of the chain.
    pub lines: u64,
    /// The number of the first.
    pub first: Option<u64>,
    pub last: Option<Head>,
    /// What is wrong, the first [`MAX_FINDINGS`] of it.
    pub wrong: Vec<Finding<Wrong>>,
    /// What is not wrong, and should be known.
    pub notes: Vec<Finding<Noted>>,
}

/// More than a person reads.
pub const MAX_FINDINGS: usize = 100;
/// For a line that is being written right now.
const PATIENCE: Duration = Duration::from_millis(50);
const TRIES: usize = 20;

/// Reads lines in order, and remembers what the next must fit to.
struct Verifier<'a> {
    expected: &'a Expected,
    report: Report,
    /// The line with the highest number so far.
    head: Option<Head>,
    /// A line made with a key was seen: from here on all must be.
    keyed: bool,
    /// What is no line of a chain, until the next one explains it.
    stray: Option<Stray>,
    /// Such lines before the first one of the chain: where, and how many.
    before: Option<(PathBuf, u64, u64)>,
    expected_seen: bool,
}

/// Checks the chain over these files, which are in order.
///
/// # Errors
/// A file can not be read.
pub fn verify(sources: Vec<Source>, expected: &Expected) -> Result<Report, Error> {
    let mut verifier = Verifier {
        expected,
        report: Report::default(),
        head: None,
        keyed: false,
        stray: None,
        before: None,
        expected_seen: false,
    };
    let count = sources.len();
    for (index, mut source) in sources.into_iter().enumerate() {
        let read = source.open().and_then(|file| {
            let last = index + 1 == count;
            verifier.file(&source.path, RawLines::new(file), last)
        });
        read.map_err(|error| Error::Read {
            path: source.path,
            source: error,
        })?;
    }
    Ok(verifier.finish())
}

impl Verifier<'_> {
    fn file<R: io::Read>(
        &mut self,
        file: &Path,
        mut lines: RawLines<R>,
        last: bool,
    ) -> io::Result<()> {
        self.report.files += 1;
        while let Some(raw) = lines.next()? {
            if raw.whole || !last {
                self.line(file, raw);
                continue;
            }
            // The server may be writing it.
            let mut tries = 0;
            let raw = loop {
                let raw = lines.again()?;
                if raw.whole || tries == TRIES {
                    break raw;
                }
                tries += 1;
                std::thread::park_timeout(PATIENCE);
            };
            self.line(file, raw);
        }
        Ok(())
    }

    fn line(&mut self, file: &Path, raw: RawLine<'_>) {
        let Some(sealed) = Sealed::parse(raw.bytes) else {
            self.give_up_stray();
            self.stray = Some(Stray {
                file: file.to_owned(),
                number: raw.number,
                bytes: raw.bytes.to_vec(),
                whole: raw.whole,
            });
            return;
        };
        let at = |what| Finding::new(file, raw.number, what);
        let event = event(raw.bytes);
        if let Some(wrong) = self.explain_stray(event.as_ref(), raw.bytes) {
            self.wrong(at(wrong));
        }
        if self.report.lines == 0 {
            self.begin(file, raw.number, sealed.seq);
        }
        self.report.lines += 1;
        let wrong = if self.is_genuine(sealed) {
            self.misplaced(sealed)
        } else {
            Some(Wrong::Changed { seq: sealed.seq })
        };
        let next = self.head.is_none_or(|head| head.seq + 1 == sealed.seq);
        match wrong {
            // The line after it is measured by the one before it, unless it claims to be in its place.
            Some(wrong @ (Wrong::Changed { .. } | Wrong::Moved { .. })) => {
                self.wrong(at(wrong));
                if next {
                    self.advance(sealed.head());
                }
                return;
            }
            Some(wrong) => self.wrong(at(wrong)),
            None => {}
        }
        if let Some(noted) = event.as_ref().and_then(noted) {
            let what = Finding::new(file, raw.number, noted);
            self.note(what);
        }
        self.advance(sealed.head());
        self.expect(file, raw.number, sealed.head());
    }

    /// The first line of the chain is here.
    fn begin(&mut self, file: &Path, number: u64, seq: u64) {
        match self.before.take() {
            Some((_, _, lines)) if seq == 1 => {
                self.note(Finding::new(file, number, Noted::Before { lines }));
            }
            Some((file, number, _)) => self.wrong(Finding::new(&file, number, Wrong::NoLine)),
            None => {}
        }
        if seq > 1 {
            self.note(Finding::new(file, number, Noted::Begins { seq }));
        }
    }

    /// What is wrong with the place of a line.
    fn misplaced(&self, sealed: Sealed<'_>) -> Option<Wrong> {
        let seq = sealed.seq;
        let head = match self.head {
            Some(head) => head,
            None if seq == 1 => Head::NONE,
            None => return None,
        };
        if seq <= head.seq {
            let after = head.seq;
            Some(Wrong::Moved { seq, after })
        } else if seq > head.seq + 1 {
            let (from, to) = (head.seq + 1, seq - 1);
            Some(Wrong::Missing { from, to })
        } else {
            (sealed.prev != head.hash).then_some(Wrong::Replaced { seq })
        }
    }

    /// Whether the hash of a line is that of its text, made in a way that is allowed here.
    fn is_genuine(&mut self, sealed: Sealed<'_>) -> bool {
        let fits = |mac: &Mac| mac.hash(sealed.body) == sealed.hash;
        if self.expected.keys.iter().any(fits) {
            self.keyed = true;
            return true;
        }
        !self.keyed && fits(&Mac::Sha256)
    }

    fn advance(&mut self, head: Head) {
        self.report.first.get_or_insert(head.seq);
        self.head = Some(head);
    }

    fn expect(&mut self, file: &Path, number: u64, head: Head) {
        if let Some(expected) = self.expected.line
            && expected.seq == head.seq
        {
            self.expected_seen = true;
            if expected.hash != head.hash {
                self.wrong(Finding::new(file, number, Wrong::Other { expected }));
            }
        }
    }

    fn finish(mut self) -> Report {
        self.give_up_stray();
        self.report.last = self.head;
        if let Some(expected) = self.expected.line
            && !self.expected_seen
        {
            let wrong = match self.head {
                Some(head) if head.seq >= expected.seq => Wrong::Absent { expected },
                _ => Wrong::Truncated { expected },
            };
            self.wrong(Finding::nowhere(wrong));
        }
        if self.report.lines == 0 {
            self.wrong(Finding::nowhere(Wrong::Empty));
        } else if !self.expected.keys.is_empty() && !self.keyed {
            self.wrong(Finding::nowhere(Wrong::NoKey));
        }
        self.report
    }

    fn wrong(&mut self, finding: Finding<Wrong>) {
        if self.report.wrong.len() < MAX_FINDINGS {
            self.report.wrong.push(finding);
        }
    }

    fn note(&mut self, finding: Finding<Noted>) {
        if self.report.notes.len() < MAX_FINDINGS {
            self.report.notes.push(finding);
        }
    }
}

/// What a line says that is not a request's.
fn event(line: &[u8]) -> Option<Event> {
    const MARK: &[u8] = b"\"event\":\"";
    let marked = line.windows(MARK.len()).any(|window| window == MARK);
    marked.then(|| serde_json::from_slice(line).ok()).flatten()
}

fn noted(event: &Event) -> Option<Noted> {
    match &event.what {
        What::Start {
            after: After::Crash,
            ..
        } => Some(Noted::Crash),
        What::Lost(gap) => Some(Noted::Lost { count: gap.count }),
        What::Refused(gap) => Some(Noted::Refused { count: gap.count }),
        _ => None,
    }
}
