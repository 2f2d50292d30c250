//! `config_repositories` in the server's file: places to look for agents' configuration, the first listed first.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use super::git::Remote;
use super::realm::Realm;

/// All places. Where two have a file for one agent, the first listed wins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Config {
    pub repositories: Vec<Repository>,
    /// What [`Config::bind`] found.
    #[serde(skip)]
    pub(super) realm: Realm,
}

/// One place to look in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Repository {
    pub source: Source,
    /// Whose project paths these are, and those in the files. Default: the only configured provider.
    pub provider: Option<String>,
}

/// What kind of place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Holds `<project path>/.gitlab/agents/<agent name>/config.yaml`.
    Directory(PathBuf),
    /// The configuration projects' own repositories.
    Git(Arc<Remote>),
}

/// Why an entry names no place.
#[derive(Debug, thiserror::Error)]
#[error("a repository has exactly one of the keys `directory` and `git`")]
pub struct Error;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    directory: Option<PathBuf>,
    git: Option<Remote>,
    provider: Option<String>,
}

impl TryFrom<Written> for Repository {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self, Error> {
        let source = match (written.directory, written.git) {
            (Some(directory), None) => Source::Directory(directory),
            (None, Some(remote)) => Source::Git(Arc::new(remote)),
            _ => return Err(Error),
        };
        Ok(Self {
            source,
            provider: written.provider,
        })
    }
}
