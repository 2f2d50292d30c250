//! Text of a YAML file → typed value, unknown keys refused by the types themselves (`deny_unknown_fields`).
//!
//! The only caller of the YAML crate, so that it can be replaced in one place.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a file gave no configuration. The message names the file and, where known, line and column.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("{}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is not YAML, or not of the wanted shape.
    #[error("{file}: {message}")]
    Parse {
        /// The file, as the caller names it.
        file: String,
        /// What is wrong and where.
        message: String,
        /// The line, counted from 1, where known.
        line: Option<usize>,
        /// The column, counted from 1, where known.
        column: Option<usize>,
    },
}

/// Reads `file` as a `T`.
///
/// # Errors
/// The file can not be read, or its text is not a `T`.
pub fn from_file<T: DeserializeOwned>(file: &Path) -> Result<T, Error> {
    let text = std::fs::read_to_string(file).map_err(|source| Error::Read {
        file: file.to_owned(),
        source,
    })?;
    from_str(&text, &file.display().to_string())
}

/// Reads `text`, the content of `file`, as a `T`. Empty text is an empty mapping.
///
/// # Errors
/// The text is not a `T`.
pub fn from_str<T: DeserializeOwned>(text: &str, file: &str) -> Result<T, Error> {
    let empty = text
        .lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    let text = if empty { "{}" } else { text };
    serde_yaml::from_str(text).map_err(|error| Error::Parse {
        file: file.to_owned(),
        message: error.to_string(),
        line: error.location().map(|location| location.line()),
        column: error.location().map(|location| location.column()),
    })
}

/// `value` as YAML text.
///
/// # Errors
/// `value` has no YAML form (a map whose keys are not scalars).
pub fn to_string<T: Serialize>(value: &T) -> Result<String, Error> {
    serde_yaml::to_string(value).map_err(|error| Error::Parse {
        file: "output".to_owned(),
        message: error.to_string(),
        line: None,
        column: None,
    })
}
