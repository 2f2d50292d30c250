//! The lines of a file as bytes, one after the other, in bounded memory.

use std::io::{self, BufRead, BufReader, Read};

/// Reads lines.
#[derive(Debug)]
pub(super) struct RawLines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    number: u64,
}

/// A line without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RawLine<'a> {
    /// From 1.
    pub(super) number: u64,
    pub(super) bytes: &'a [u8],
    /// Whether its end is there: not so for the last line of a file that breaks off.
    pub(super) whole: bool,
}

/// Longer than any line of ours; what is longer is read in pieces.
const MAX_LINE: u64 = 64 << 20;

impl<R: Read> RawLines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader: BufReader::with_capacity(128 * 1024, reader),
            line: Vec::new(),
            number: 0,
        }
    }

    pub(super) fn next(&mut self) -> io::Result<Option<RawLine<'_>>> {
        self.line.clear();
        let mut limited = (&mut self.reader).take(MAX_LINE);
        if limited.read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let whole = self.line.last() == Some(&b'\n');
        if whole {
            self.line.pop();
        }
        Ok(Some(RawLine {
            number: self.number,
            bytes: &self.line,
            whole,
        }))
    }

    /// Looks whether a line that broke off has gone on meanwhile.
    pub(super) fn again(&mut self) -> io::Result<RawLine<'_>> {
        (&mut self.reader)
            .take(MAX_LINE)
            .read_until(b'\n', &mut self.line)?;
        let whole = self.line.last() == Some(&b'\n');
        if whole {
            self.line.pop();
        }
        Ok(RawLine {
            number: self.number,
            bytes: &self.line,
            whole,
        })
    }
}
