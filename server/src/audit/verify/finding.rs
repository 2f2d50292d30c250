//! What checking finds, in words.

use std::fmt;
use std::path::{Path, PathBuf};

use super::super::chain::Head;

/// Something, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding<T> {
    /// File and line; none for what is about the whole.
    pub place: Option<(PathBuf, u64)>,
    pub what: T,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    #[error(
        "changed: the hash of line {seq} is not that of its text, or was made with another key or none"
    )]
    Changed { seq: u64 },
    #[error("removed: {} before this one", missing(*from, *to))]
    Missing { from: u64, to: u64 },
    #[error("inserted or moved: line {seq} stands behind line {after}")]
    Moved { seq: u64, after: u64 },
    #[error("replaced: line {seq} was written behind another line than the one before it")]
    Replaced { seq: u64 },
    #[error("inserted or changed: this is no line of the chain")]
    NoLine,
    #[error(
        "incomplete: the line breaks off. The server died while it wrote, or somebody cut the file; the server's next \
         start marks such a line"
    )]
    Incomplete,
    #[error("changed: this line tells of torn bytes before it, and they are not there as it tells")]
    NotTorn,
    #[error("replaced: line {} is there with another hash than the expected {}", expected.seq, expected.hash)]
    Other { expected: Head },
    #[error("truncated: the end is missing; line {} is expected", expected.seq)]
    Truncated { expected: Head },
    #[error("removed: the expected line {} is not there", expected.seq)]
    Absent { expected: Head },
    #[error("replaced: no line is made with the key")]
    NoKey,
    #[error("there is no line of a chain")]
    Empty,
}

/// What is not wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Noted {
    #[error(
        "the chain begins with line {seq} here: those before it are in other files, or were removed for their age"
    )]
    Begins { seq: u64 },
    #[error("{lines} lines of a server without a chain stand before this one; nothing proves them")]
    Before { lines: u64 },
    #[error(
        "{bytes} bytes of a line that was being written when the server died, or when its file was moved away"
    )]
    Torn { bytes: u64 },
    #[error(
        "the server died before this start: requests that ran then, or whose lines waited, have no lines"
    )]
    Crash,
    #[error("{count} lines are lost here: they could not be written, and this line says so")]
    Lost { count: u64 },
    #[error(
        "{count} requests were refused here while lines could not be written; they have no lines"
    )]
    Refused { count: u64 },
}

impl<T> Finding<T> {
    pub(super) fn new(file: &Path, line: u64, what: T) -> Self {
        Self {
            place: Some((file.to_owned(), line)),
            what,
        }
    }

    pub(super) fn nowhere(what: T) -> Self {
        Self { place: None, what }
    }
}

impl<T: fmt::Display> fmt::Display for Finding<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((file, line)) = &self.place {
            write!(f, "{}:{line}: ", file.display())?;
        }
        self.what.fmt(f)
    }
}

fn missing(from: u64, to: u64) -> String {
    if from == to {
        format!("line {from} is missing")
    } else {
        format!("lines {from} to {to} are missing")
    }
}
