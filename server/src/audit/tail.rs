//! The end of a file that was written before: the last line of its chain, and what a crash left behind it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use jiff::Timestamp;
use serde::Deserialize;

use super::chain::{Head, Mac, Sealed};
use super::event::{Event, What};

/// What the end of a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tail {
    /// The last line of a chain.
    pub(super) head: Option<Head>,
    /// Whether that is the one of a server that ended as it should, and the last.
    pub(super) stopped: bool,
    /// Bytes behind the last end of a line.
    pub(super) fragment: Option<Fragment>,
}

/// The begin of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fragment {
    pub(super) bytes: u64,
    pub(super) sha256: String,
    /// Nothing is missing but the line's end.
    pub(super) whole: bool,
}

/// Read first, and doubled until a line is found.
const BLOCK: u64 = 64 << 10;
/// Where looking ends.
const MAX_BLOCK: u64 = 128 << 20;

/// Reads the end of `file`.
pub(super) fn read(file: &File) -> io::Result<Tail> {
    let length = file.metadata()?.len();
    let mut size = BLOCK;
    loop {
        let begin = length.saturating_sub(size);
        let mut block = vec![0; usize::try_from(length - begin).map_err(io::Error::other)?];
        file.read_exact_at(&mut block, begin)?;
        let tail = look(&block);
        if tail.head.is_some() || begin == 0 || size >= MAX_BLOCK {
            return Ok(tail);
        }
        size *= 2;
    }
}

fn look(block: &[u8]) -> Tail {
    let end = block
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let (lines, rest) = block.split_at(end);
    let mut tail = Tail::default();
    if !rest.is_empty() {
        let sealed = Sealed::parse(rest);
        tail.fragment = Some(Fragment {
            bytes: rest.len() as u64,
            sha256: Mac::Sha256.hash(rest).to_string(),
            whole: sealed.is_some(),
        });
        tail.head = sealed.map(|sealed| sealed.head());
    }
    let mut last = rest.is_empty();
    for line in lines.split(|byte| *byte == b'\n').rev().skip(1) {
        if tail.head.is_some() {
            break;
        }
        tail.head = Sealed::parse(line).map(|sealed| sealed.head());
        tail.stopped = last && is_stop(line);
        last = false;
    }
    tail
}

fn is_stop(line: &[u8]) -> bool {
    matches!(serde_json::from_slice::<Event>(line), Ok(event) if event.what == What::Stop)
}

/// When the first line of `file` is from.
pub(super) fn begun(file: &File) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Timed {
        time: Timestamp,
    }
    let mut block = vec![0; usize::try_from(BLOCK).ok()?];
    let count = file.read_at(&mut block, 0).ok()?;
    let line = block[..count].split(|byte| *byte == b'\n').next()?;
    let timed: Timed = serde_json::from_slice(line).ok()?;
    Some(timed.time)
}

#[cfg(test)]
mod tests {
    use super::super::chain::Chain;
    use super::*;

    fn tail(text: &[u8]) -> Tail {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(&File::open(file.path()).unwrap()).unwrap()
    }

    fn lines(lines: &[&str]) -> (Vec<u8>, Head) {
        let mut chain = Chain::new(Mac::Sha256, Head::NONE);
        let mut out = Vec::new();
        for line in lines {
            chain.seal(line.as_bytes(), &mut out);
        }
        (out, chain.head())
    }

    const STOP: &str = r#"{"time":"2026-11-23T12:00:00Z","event":"stop"}"#;

    #[test]
    fn nothing_and_strange_things_have_no_head() {
        assert_eq!(tail(b""), Tail::default());
        assert_eq!(tail(b"{\"time\":1}\nnonsense\n"), Tail::default());
        let fragment = tail(&[0; 200_000]).fragment.unwrap();
        assert_eq!((fragment.bytes, fragment.whole), (200_000, false));
    }

    #[test]
    fn the_last_line_is_found() {
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(300_000));
        for text in [r#"{"a":1}"#, &long] {
            let (mut text, head) = lines(&[r#"{"b":1}"#, text]);
            let found = tail(&text);
            assert_eq!(
                (found.head, found.stopped, found.fragment),
                (Some(head), false, None)
            );
            // Lines of somebody else behind it are no end of the chain.
            text.extend_from_slice(b"nonsense\n");
            assert_eq!(tail(&text).head, Some(head));
        }
    }

    #[test]
    fn a_stop_is_one_only_as_the_last_line() {
        let (text, head) = lines(&[r#"{"a":1}"#, STOP]);
        let found = tail(&text);
        assert_eq!((found.head, found.stopped), (Some(head), true));
        let (text, _) = lines(&[STOP, r#"{"a":1}"#]);
        assert!(!tail(&text).stopped);
        let (mut text, _) = lines(&[r#"{"a":1}"#, STOP]);
        text.push(b'{');
        assert!(!tail(&text).stopped);
    }

    #[test]
    fn what_is_torn_is_told() {
        let (text, whole) = lines(&[r#"{"a":1}"#, r#"{"b":1}"#]);
        let (first, head) = lines(&[r#"{"a":1}"#]);
        let rest = &text[first.len()..];
        for cut in 1..rest.len() - 1 {
            let found = tail(&text[..first.len() + cut]);
            let fragment = found.fragment.unwrap();
            assert_eq!(found.head, Some(head));
            assert_eq!((fragment.bytes, fragment.whole), (cut as u64, false));
        }
        let found = tail(&text[..text.len() - 1]);
        assert_eq!(
            (found.head, found.fragment.unwrap().whole),
            (Some(whole), true)
        );
    }

    #[test]
    fn a_file_is_as_old_as_its_first_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(begun(file.as_file()), None);
        std::fs::write(file.path(), lines(&[STOP]).0).unwrap();
        let time: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        assert_eq!(begun(file.as_file()), Some(time));
    }
}
