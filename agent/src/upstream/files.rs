//! Whether files changed since they were read.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Files and what they looked like. Take the stamp before reading, so that a change while reading is seen.
#[derive(Debug)]
pub(super) struct Files(Vec<(PathBuf, Option<Stamp>)>);

/// A projected volume swaps a symlink: the file behind the name is another one, whatever its time says.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Files {
    pub(super) fn stamped(files: Vec<PathBuf>) -> Self {
        Self(
            files
                .into_iter()
                .map(|file| (stamp(&file), file))
                .map(|(stamp, file)| (file, stamp))
                .collect(),
        )
    }

    /// A few `stat` calls on local files: microseconds, so they are made in place.
    pub(super) fn changed(&self) -> bool {
        self.0.iter().any(|(file, before)| stamp(file) != *before)
    }
}

fn stamp(file: &PathBuf) -> Option<Stamp> {
    let of = |metadata: Metadata| Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        length: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    };
    std::fs::metadata(file).ok().map(of)
}
