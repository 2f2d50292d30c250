//! The end of the chain, kept beside the log: the log may have been moved away, or be a pipe, when the server starts again.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::chain::{Hash, Head};

/// `audit.chain` in the state directory: number and hash of the last line, and whether the server ended as it should.
#[derive(Debug)]
pub(super) struct HeadFile {
    file: File,
    path: PathBuf,
    warned: bool,
}

/// What the file said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) head: Head,
    pub(super) stopped: bool,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {source}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{}: another server writes audit lines with this state_dir", .0.display())]
    InUse(PathBuf),
}

/// The last line that a server noted to have written; none where none has, or the note can not be used.
///
/// # Errors
/// The note can not be read.
pub fn noted(state_dir: &Path) -> io::Result<Option<Head>> {
    match std::fs::read(state_dir.join(NAME)) {
        Ok(text) => Ok(parse(&text).map(|saved| saved.head)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

const NAME: &str = "audit.chain";
/// Always as long, so that one write replaces it whole.
const LENGTH: usize = 20 + 1 + 64 + 1 + 7 + 1;

impl HeadFile {
    /// Opens the file, for this process alone.
    pub(super) fn open(state_dir: &Path) -> Result<(Self, Option<Saved>), Error> {
        let path = state_dir.join(NAME);
        let failed = |source| Error::Open {
            path: path.clone(),
            source,
        };
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let file = options.open(&path).map_err(failed)?;
        // File systems without locks are used by one server at a time nevertheless.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(Error::InUse(path));
        }
        let mut text = [0; LENGTH];
        let saved = match file.read_exact_at(&mut text, 0) {
            Ok(()) => parse(&text),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(failed(error)),
        };
        let warned = false;
        Ok((Self { file, path, warned }, saved))
    }

    /// Replaces what the file says. What is lost here is found again in the log, unless that is moved away.
    pub(super) fn save(&mut self, head: Head, stopped: bool) {
        let state = if stopped { "stopped" } else { "running" };
        let text = format!("{:020} {} {state}\n", head.seq, head.hash);
        match self.file.write_all_at(text.as_bytes(), 0) {
            Ok(()) => self.warned = false,
            Err(error) if !self.warned => {
                self.warned = true;
                let path = self.path.display();
                tracing::warn!(%error, %path, "the end of the audit's chain can not be noted");
            }
            Err(_) => {}
        }
    }
}

fn parse(text: &[u8]) -> Option<Saved> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('\n')?;
    let mut words = text.split(' ');
    let (seq, hash, state) = (words.next()?, words.next()?, words.next()?);
    let head = Head {
        seq: seq.parse().ok()?,
        hash: Hash::parse(hash.as_bytes())?,
    };
    let stopped = match state {
        "stopped" => true,
        "running" => false,
        _ => return None,
    };
    Some(Saved { head, stopped })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_found_again_and_used_by_one() {
        let directory = tempfile::tempdir().unwrap();
        let (mut file, saved) = HeadFile::open(directory.path()).unwrap();
        assert_eq!(saved, None);
        let hash = Hash::parse(&[b'a'; 64]).unwrap();
        let head = Head {
            seq: u64::MAX,
            hash,
        };
        file.save(Head { seq: 3, hash }, false);
        file.save(head, true);
        let error = HeadFile::open(directory.path()).unwrap_err();
        assert!(matches!(error, Error::InUse(_)), "{error}");
        drop(file);
        let stopped = true;
        let (_, saved) = HeadFile::open(directory.path()).unwrap();
        assert_eq!(saved, Some(Saved { head, stopped }));
    }

    #[test]
    fn nonsense_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["", "x", &"0".repeat(LENGTH), &"\u{0}".repeat(LENGTH)] {
            std::fs::write(directory.path().join(NAME), text).unwrap();
            assert_eq!(HeadFile::open(directory.path()).unwrap().1, None);
        }
    }
}
