//! An audit file and those that were rotated away from it: their names, their order.
//!
//! A rotated file is named for when it was closed and for its last line: `audit.log.20261123T214537Z.000000012345`.
//! Names sort as the lines in them do.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A file that was rotated away.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rotated {
    /// When it was closed, to the second.
    pub(super) closed: Timestamp,
    /// The number of its last line.
    pub(super) last: u64,
    pub(super) path: PathBuf,
}

const TIME: &str = "%Y%m%dT%H%M%SZ";
const DIGITS: usize = 12;

/// Every file of `current`, the oldest first, the current one at the end.
///
/// # Errors
/// The directory can not be read.
pub fn all(current: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<_> = rotated(current)?
        .into_iter()
        .map(|file| file.path)
        .collect();
    if current.try_exists()? {
        files.push(current.to_owned());
    }
    Ok(files)
}

/// A file to be read, open already if it may be renamed meanwhile.
#[derive(Debug)]
pub struct Source {
    pub path: PathBuf,
    /// When it was closed, if it was.
    pub(super) closed: Option<Timestamp>,
    file: Option<File>,
}

/// The same as [`all`] for reading while a server writes: no file is missed or read twice because it is rotated
/// meanwhile.
///
/// # Errors
/// The directory can not be read.
pub fn sources(current: &Path) -> io::Result<Vec<Source>> {
    let newest = match File::open(current) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let identity = |about: std::fs::Metadata| (about.dev(), about.ino());
    let newest_is = newest
        .as_ref()
        .map(File::metadata)
        .transpose()?
        .map(identity);
    let mut sources = Vec::new();
    let mut renamed = false;
    for Rotated { closed, path, .. } in rotated(current)? {
        renamed |= path.metadata().map(identity).ok() == newest_is;
        sources.push(Source {
            path,
            closed: Some(closed),
            file: None,
        });
    }
    if newest.is_some() && !renamed {
        sources.push(Source {
            path: current.to_owned(),
            closed: None,
            file: newest,
        });
    }
    Ok(sources)
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Self {
            path,
            closed: None,
            file: None,
        }
    }
}

impl Source {
    pub(super) fn open(&mut self) -> io::Result<File> {
        self.file.take().map_or_else(|| File::open(&self.path), Ok)
    }
}

/// The files that were rotated away from `current`, the oldest first.
pub(super) fn rotated(current: &Path) -> io::Result<Vec<Rotated>> {
    let Some(name) = current.file_name().and_then(|name| name.to_str()) else {
        return Ok(Vec::new());
    };
    let entries = match directory(current).read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let parsed = path
            .file_name()
            .and_then(|other| other.to_str())
            .and_then(|other| parse(name, other));
        if let Some((closed, last)) = parsed {
            files.push(Rotated { closed, last, path });
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// What `current` is to be called once it is closed at `now` with `last` as the number of its last line: a name that
/// sorts behind those of `others`, whatever the clock did meanwhile.
pub(super) fn name(current: &Path, now: Timestamp, last: u64, others: &[Rotated]) -> PathBuf {
    let newest = others.last().map_or(now, |newest| newest.closed.max(now));
    let mut name = current.as_os_str().to_owned();
    name.push(format!(".{}.{last:0DIGITS$}", newest.strftime(TIME)));
    PathBuf::from(name)
}

/// The last part of a path, as lines name it.
pub(super) fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// The directory that holds `file`.
pub(super) fn directory(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn parse(current: &str, other: &str) -> Option<(Timestamp, u64)> {
    let (time, last) = other
        .strip_prefix(current)?
        .strip_prefix('.')?
        .split_once('.')?;
    if last.len() < DIGITS || !last.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let closed = DateTime::strptime(TIME, time).ok()?;
    let closed = closed.to_zoned(TimeZone::UTC).ok()?.timestamp();
    Some((closed, last.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_their_lines_do() {
        let directory = tempfile::tempdir().unwrap();
        let current = directory.path().join("audit.log");
        let noon: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let early: Timestamp = "2026-11-23T11:00:00Z".parse().unwrap();
        let mut made = Vec::new();
        // The clock goes back between the first and the second.
        for (time, last) in [(noon, 9), (early, 10), (noon, 999_999_999_999)] {
            let path = name(&current, time, last, &rotated(&current).unwrap());
            std::fs::write(&path, "").unwrap();
            made.push(path);
        }
        assert!(made[0].ends_with("audit.log.20261123T120000Z.000000000009"));
        std::fs::write(&current, "").unwrap();
        for other in [
            "audit.log.1",
            "audit.log.gz",
            "other.log",
            "audit.log.20261123T120000Z.1",
            "audit.log.20261123T120000Z.00000000000a",
            "audit.log.yesterday.000000000001",
        ] {
            std::fs::write(directory.path().join(other), "").unwrap();
        }
        made.push(current.clone());
        assert_eq!(all(&current).unwrap(), made);
    }

    #[test]
    fn no_directory_has_no_files() {
        assert!(all(Path::new("/no/such/audit.log")).unwrap().is_empty());
        assert_eq!(directory(Path::new("audit.log")), Path::new("."));
    }
}
