//! Where writing begins: behind what the last start left.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::super::chain::{Chain, Head, Mac};
use super::super::config::Config;
use super::super::event::{After, What};
use super::super::files;
use super::super::head::{HeadFile, Saved};
use super::super::output::{LogFile, Open};
use super::super::queue::Queue;
use super::super::sink::Error;
use super::super::tail::{self, Tail};
use super::{Clock, Writing};
use crate::metrics::Metrics;

impl Writing {
    /// Opens the output, and finds the end of the chain.
    ///
    /// # Errors
    /// A file can not be opened.
    pub(in super::super) fn begin(
        config: &Config,
        state_dir: &Path,
        queue: Arc<Queue>,
        metrics: Metrics,
        clock: Clock,
    ) -> Result<Self, Error> {
        let mac = Mac::new(config.chain_key_file.as_deref())?;
        let output = config.output(state_dir);
        let failed = |source| Error::Open {
            output: output.clone(),
            source,
        };
        let (head_file, saved) = HeadFile::open(state_dir)?;
        let open = output.open().map_err(failed)?;
        let tail = match &open {
            Open::File(file) if file.is_regular() => tail_of(file).map_err(failed)?,
            _ => Tail::default(),
        };
        let (head, after) = last(saved, &tail);
        let mut writing = Self {
            queue,
            output,
            open,
            chain: Chain::new(mac, head),
            head: head_file,
            rotate: config.rotate.clone(),
            sync: config.sync,
            metrics,
            clock,
            sealed: Vec::new(),
            written: 0,
            owed: 0,
            owed_sealed: 0,
            reopened: false,
            sync_by: None,
            rotate_after: None,
            give_up: None,
        };
        writing.first_lines(tail, after);
        Ok(writing)
    }

    fn first_lines(&mut self, tail: Tail, after: After) {
        let mut events = Vec::new();
        if let Some(fragment) = tail.fragment {
            self.sealed.push(b'\n');
            if !fragment.whole {
                events.push(What::Torn {
                    bytes: fragment.bytes,
                    sha256: fragment.sha256,
                });
            }
        }
        events.push(What::Start {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            mac: self.chain.mac().name().to_owned(),
            after,
        });
        for what in events {
            self.put(what);
        }
    }
}

/// The end of the file; where that is empty, of the newest one that was rotated away.
fn tail_of(file: &LogFile) -> io::Result<Tail> {
    if file.length() > 0 {
        return tail::read(&File::open(file.path())?);
    }
    let Some(newest) = files::rotated(file.path())?.pop() else {
        return Ok(Tail::default());
    };
    Ok(Tail {
        fragment: None,
        ..tail::read(&File::open(newest.path)?)?
    })
}

/// The last line, and how the server ended after it. The file knows of lines that were not noted any more; the note
/// knows of lines that are no longer in the file, and must be missed there.
fn last(saved: Option<Saved>, tail: &Tail) -> (Head, After) {
    let found = tail.head.map(|head| (head, tail.stopped));
    let noted = saved.map(|saved| (saved.head, saved.stopped));
    let newest = match (found, noted) {
        (Some(found), Some(noted)) if found.0.seq <= noted.0.seq => {
            if found.0.seq < noted.0.seq {
                let (first, last) = (found.0.seq + 1, noted.0.seq);
                tracing::error!(
                    first,
                    last,
                    "audit lines that were written are gone from the end of the log"
                );
            }
            Some(noted)
        }
        (found, noted) => found.or(noted),
    };
    match newest {
        Some((head, true)) => (head, After::Stop),
        Some((head, false)) => (head, After::Crash),
        None => (Head::NONE, After::Nothing),
    }
}
