//! Reading lines again: the line of a request by its id, or all lines that fit.

mod filter;

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::event::Event;
use super::files::{self, Source};
use super::line::Line;
use super::output::Output;
use super::raw::RawLines;
use super::{Config, KeyError};

pub use filter::{Filter, Status};

/// Why lines can not be read again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("audit lines go to {0}, not to a file: name the files that hold them")]
    NoFile(Output),
    #[error(
        "there is no audit file {}: the server has not run yet, or writes elsewhere",
        .0.display()
    )]
    Missing(PathBuf),
    #[error("the key of the chain: {0}")]
    Key(#[from] KeyError),
}

/// A line that was read again.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    Request(Box<Line>),
    Event(Event),
}

/// The files that hold the audit lines of this configuration, the oldest first.
///
/// # Errors
/// Lines go elsewhere, or there are none.
pub fn files(config: &Config, state_dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let sources = sources(config, state_dir)?;
    Ok(sources.into_iter().map(|source| source.path).collect())
}

/// The same for reading while a server writes.
///
/// # Errors
/// Lines go elsewhere, or there are none.
pub fn sources(config: &Config, state_dir: &Path) -> Result<Vec<Source>, Error> {
    let path = match config.output(state_dir) {
        Output::File(path) => path,
        other => return Err(Error::NoFile(other)),
    };
    let sources = files::sources(&path).map_err(|source| Error::Read {
        path: path.clone(),
        source,
    })?;
    if sources.is_empty() {
        return Err(Error::Missing(path));
    }
    Ok(sources)
}

/// The line of the request with this id, from the newest file that has it.
///
/// # Errors
/// A file can not be read.
pub fn find(files: &[PathBuf], request_id: &str) -> Result<Option<Line>, Error> {
    let filter = Filter {
        request_id: Some(request_id.to_owned()),
        ..Filter::default()
    };
    let mut found = None;
    for path in files.iter().rev() {
        let source = Source::from(path.clone());
        each([source], &filter, |_, entry| {
            if let Entry::Request(line) = entry {
                found = Some(*line);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        if found.is_some() {
            break;
        }
    }
    Ok(found)
}

/// Hands each line that fits to `take`, as it stands in the file and as what it says, in order, one after the other.
///
/// # Errors
/// A file can not be read.
pub fn each(
    sources: impl IntoIterator<Item = Source>,
    filter: &Filter,
    mut take: impl FnMut(&[u8], Entry) -> ControlFlow<()>,
) -> Result<(), Error> {
    for mut source in sources {
        // A request that came later ended later, and its line is in a later file.
        if let (Some(closed), Some(since)) = (source.closed, filter.since)
            && closed.as_second() < since.as_second()
        {
            continue;
        }
        let ended = source
            .open()
            .and_then(|file| each_in(RawLines::new(file), filter, &mut take));
        let ended = ended.map_err(|error| Error::Read {
            path: source.path,
            source: error,
        })?;
        if ended.is_break() {
            break;
        }
    }
    Ok(())
}

fn each_in(
    mut lines: RawLines<File>,
    filter: &Filter,
    take: &mut impl FnMut(&[u8], Entry) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    while let Some(raw) = lines.next()? {
        if filter.may_fit(raw.bytes)
            && let Some(entry) = parse(raw.bytes)
            && filter.fits(&entry)
            && take(raw.bytes, entry).is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// What a line says; nothing for what is none of ours, or of a server that knows more.
fn parse(line: &[u8]) -> Option<Entry> {
    match serde_json::from_slice::<Line>(line) {
        Ok(line) => Some(Entry::Request(Box::new(line))),
        Err(_) => serde_json::from_slice(line).ok().map(Entry::Event),
    }
}

#[cfg(test)]
mod tests;
