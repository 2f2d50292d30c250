//! A file that lines are appended to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::super::files;
use super::super::tail;

/// The file that is open.
#[derive(Debug)]
pub(in super::super) struct LogFile {
    path: PathBuf,
    file: File,
    length: u64,
    /// When its first line is from; none while it has none.
    begun: Option<Timestamp>,
    /// Not a device or a pipe, which can not be read again, moved away or made durable.
    regular: bool,
}

impl LogFile {
    pub(in super::super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(path)?;
        let about = file.metadata()?;
        let regular = about.is_file();
        let written = regular && about.len() > 0;
        Ok(Self {
            path: path.to_owned(),
            file,
            length: if regular { about.len() } else { 0 },
            begun: written
                .then(|| File::open(path).ok().and_then(|file| tail::begun(&file)))
                .flatten()
                .or_else(|| {
                    written
                        .then(|| about.modified().ok()?.try_into().ok())
                        .flatten()
                }),
            regular,
        })
    }

    pub(in super::super) fn path(&self) -> &Path {
        &self.path
    }

    pub(in super::super) fn length(&self) -> u64 {
        self.length
    }

    pub(in super::super) fn is_regular(&self) -> bool {
        self.regular
    }

    pub(in super::super) fn begun(&self) -> Option<Timestamp> {
        self.begun
    }

    /// Notes that a line of `now` is the first.
    pub(in super::super) fn begin(&mut self, now: Timestamp) {
        self.begun.get_or_insert(now);
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.length += count as u64;
        Ok(count)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        if self.regular {
            self.file.sync_data()
        } else {
            Ok(())
        }
    }

    /// True when another file has the name now.
    pub(super) fn reopen(&mut self) -> io::Result<bool> {
        let new = Self::open(&self.path)?;
        let (old, about) = (self.file.metadata()?, new.file.metadata()?);
        if (old.dev(), old.ino()) == (about.dev(), about.ino()) {
            // Somebody may have emptied it.
            self.length = new.length;
            return Ok(false);
        }
        *self = new;
        Ok(true)
    }

    /// Gives the file the name `to`, which nobody has, and begins another.
    pub(in super::super) fn rotate(&mut self, to: &Path) -> io::Result<()> {
        if to.try_exists()? {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{} is there already", to.display()),
            ));
        }
        fs::rename(&self.path, to)?;
        match Self::open(&self.path) {
            Ok(new) => *self = new,
            Err(error) => {
                // Lines go on into the old file, which gets its name back if that is possible.
                let _ = fs::rename(to, &self.path);
                return Err(error);
            }
        }
        // The names must be as durable as what they name.
        File::open(files::directory(&self.path))?.sync_all()
    }
}
