//! Text of a YAML file → typed value, unknown keys refused by the types themselves (`deny_unknown_fields`).
//!
//! The only caller of the YAML crates, so that they can be replaced in one place: `serde_yaml` for the programs' own
//! files, `serde_saphyr` where every value must know its line, which `serde_yaml` tells of errors only.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_saphyr::Spanned;

use super::document::{Node, Value};

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
    let text = if is_empty(text) { "{}" } else { text };
    serde_yaml::from_str(text).map_err(|error| Error::Parse {
        file: file.to_owned(),
        message: error.to_string(),
        line: error.location().map(|location| location.line()),
        column: error.location().map(|location| location.column()),
    })
}

/// Reads `text`, the content of `file`, as a tree whose nodes know their lines. Empty text is an empty mapping.
///
/// Made for files that strangers write: depth, aliases and the number of nodes are bounded.
///
/// # Errors
/// The text is not one YAML document, has a key twice, or goes over a bound.
pub fn document(text: &str, file: &str) -> Result<Node, Error> {
    // The parser takes it for the end of the text, and what follows would be passed over in silence.
    if let Some(line) = text.lines().position(|line| line.contains('\0')) {
        let message = format!("a NUL character at line {}", line + 1);
        return Err(Error::Parse {
            file: file.to_owned(),
            message,
            line: Some(line + 1),
            column: None,
        });
    }
    let text = if is_empty(text) { "{}" } else { text };
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_NODES },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| Error::Parse {
        file: file.to_owned(),
        message: error.to_string(),
        line: error
            .location()
            .and_then(|location| usize::try_from(location.line()).ok()),
        column: error
            .location()
            .and_then(|location| usize::try_from(location.column()).ok()),
    })
}

/// The most nodes that aliases may add to a document.
const MAX_NODES: usize = 20_000;

fn is_empty(text: &str) -> bool {
    text.lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            line: usize::try_from(spanned.referenced.line()).unwrap_or(usize::MAX),
            column: usize::try_from(spanned.referenced.column()).unwrap_or(usize::MAX),
            value: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Number)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Number)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Value, E> {
        Ok(Value::Number)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Value, E> {
        Ok(Value::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Number)
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some((key, value)) = entries.next_entry::<Spanned<String>, Node>()? {
            let line = usize::try_from(key.referenced.line()).unwrap_or(usize::MAX);
            let column = usize::try_from(key.referenced.column()).unwrap_or(usize::MAX);
            map.push((
                Node {
                    line,
                    column,
                    value: Value::Text(key.value),
                },
                value,
            ));
        }
        Ok(Value::Map(map))
    }
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
