//! The last good content of files in directories, on disk for the next start.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

/// A directory with one file for each agent's file, named by its path and its content.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// None: nothing is kept.
    directory: Option<PathBuf>,
    /// Whether it is only looked at.
    read_only: bool,
    /// By the first part of the file's name: the second.
    revisions: HashMap<String, String>,
}

impl Kept {
    /// What earlier processes left in `directory`.
    pub(super) fn open(directory: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        Self::read(directory, false)
    }

    /// The same, without a change to it: a server may be running.
    pub(super) fn look(directory: PathBuf) -> io::Result<Self> {
        if directory.exists() {
            Self::read(directory, true)
        } else {
            Ok(Self::default())
        }
    }

    fn read(directory: PathBuf, read_only: bool) -> io::Result<Self> {
        let mut revisions = HashMap::new();
        for entry in fs::read_dir(&directory)? {
            let name = entry?.file_name();
            if let Some((file, revision)) = name.to_str().and_then(|name| name.split_once('.')) {
                revisions.insert(file.to_owned(), revision.to_owned());
            }
        }
        Ok(Self {
            directory: Some(directory),
            read_only,
            revisions,
        })
    }

    /// The last good content of `file`.
    pub(super) fn load(&self, file: &str) -> Option<Vec<u8>> {
        let name = name(file);
        let revision = self.revisions.get(&name)?;
        let content = fs::read(self.directory.as_ref()?.join(format!("{name}.{revision}"))).ok()?;
        // Of a disk that was full, say.
        (digest(&content) == *revision).then_some(content)
    }

    pub(super) fn store(&mut self, file: &str, content: &[u8]) {
        let (name, revision) = (name(file), digest(content));
        let news = !self.read_only && self.revisions.get(&name) != Some(&revision);
        let Some(directory) = self.directory.as_ref().filter(|_| news) else {
            return;
        };
        let new = directory.join("new");
        let path = directory.join(format!("{name}.{revision}"));
        if let Err(error) = fs::write(&new, content).and_then(|()| fs::rename(new, path)) {
            tracing::error!(%error, file, "the content is lost with this process");
            return;
        }
        if let Some(before) = self.revisions.insert(name.clone(), revision) {
            let _ = fs::remove_file(directory.join(format!("{name}.{before}")));
        }
    }

    /// Forgets every file but these: one that comes again begins anew.
    pub(super) fn retain<'a>(&mut self, files: impl Iterator<Item = &'a str>) {
        let Some(directory) = self.directory.as_ref().filter(|_| !self.read_only) else {
            return;
        };
        let names: HashSet<String> = files.map(name).collect();
        self.revisions.retain(|name, revision| {
            let kept = names.contains(name);
            if !kept {
                let _ = fs::remove_file(directory.join(format!("{name}.{revision}")));
            }
            kept
        });
    }
}

fn name(file: &str) -> String {
    digest(file.as_bytes())
}

fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
