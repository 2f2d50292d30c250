//! Text that must never be printed, and where a configuration file says it comes from.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// What stands in place of a secret wherever one would be printed.
const MASK: &str = "***";

/// Why there is no secret. The messages name the file or variable, never its content.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file holds nothing but white space.
    #[error("secret file {} is empty", .0.display())]
    EmptyFile(PathBuf),
    /// The text in the configuration is empty.
    #[error("the secret is empty: write its text, {{file: PATH}} or {{env: NAME}}")]
    EmptyText,
    /// The variable is not set, is empty or is not UTF-8.
    #[error("environment variable {0} holds no secret: it is unset, empty or not UTF-8")]
    Env(String),
    /// The file could not be read as UTF-8 text.
    #[error("secret file {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A secret's text. Printing, logging and serialising it give a mask; [`Secret::expose`] gives the text.
///
/// In a configuration file: a plain string, `{file: PATH}` or `{env: NAME}`, read when the file is loaded.
/// Line ends and white space after the text are no part of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret that is `text`.
    ///
    /// # Errors
    /// Nothing is left of `text` without the white space at its end.
    pub fn new(text: &str) -> Result<Self, Error> {
        let text = text.trim_end();
        if text.is_empty() {
            Err(Error::EmptyText)
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    /// The secret that `file` holds.
    ///
    /// # Errors
    /// The file can not be read as text, or is empty.
    pub fn from_file(file: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(file).map_err(|source| Error::Read {
            file: file.to_owned(),
            source,
        })?;
        Self::new(&text).map_err(|_| Error::EmptyFile(file.to_owned()))
    }

    /// The secret in the environment variable `name`.
    ///
    /// # Errors
    /// The variable is unset, empty or not UTF-8.
    pub fn from_env(name: &str) -> Result<Self, Error> {
        let text = std::env::var(name).map_err(|_| Error::Env(name.to_owned()))?;
        Self::new(&text).map_err(|_| Error::Env(name.to_owned()))
    }

    /// The text itself. For the one place that needs it; never for a log or an error.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SecretSource::deserialize(deserializer)?
            .read()
            .map_err(de::Error::custom)
    }
}

/// Where a secret is to be had; for secrets that change while the program runs, or that are read later than the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// `{env: NAME}`
    Env(String),
    /// `{file: PATH}`
    File(PathBuf),
    /// The text itself.
    Text(Secret),
}

impl SecretSource {
    /// The secret as it is now.
    ///
    /// # Errors
    /// The file can not be read, or the file or variable holds nothing.
    pub fn read(&self) -> Result<Secret, Error> {
        match self {
            Self::Env(name) => Secret::from_env(name),
            Self::File(file) => Secret::from_file(file),
            Self::Text(secret) => Ok(secret.clone()),
        }
    }
}

impl Serialize for SecretSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entry = |serializer: S, key: &str, value: &dyn fmt::Display| {
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_entry(key, &value.to_string())?;
            map.end()
        };
        match self {
            Self::Env(name) => entry(serializer, "env", name),
            Self::File(file) => entry(serializer, "file", &file.display()),
            Self::Text(secret) => secret.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = SecretSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret: text in quotes, {file: PATH} or {env: NAME}")
    }

    // serde's own messages for numbers repeat the value; these must not.
    fn visit_bool<E: de::Error>(self, _: bool) -> Result<SecretSource, E> {
        Err(E::invalid_type(
            de::Unexpected::Other("a bare value without quotes"),
            &self,
        ))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<SecretSource, E> {
        self.visit_bool(false)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<SecretSource, E> {
        self.visit_bool(false)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<SecretSource, E> {
        self.visit_bool(false)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretSource, E> {
        Secret::new(text).map(SecretSource::Text).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretSource, A::Error> {
        let only = "a secret has exactly one of the keys `file` and `env`";
        let Some(key) = map.next_key::<String>()? else {
            return Err(de::Error::custom(only));
        };
        let source = match key.as_str() {
            "env" => SecretSource::Env(map.next_value()?),
            "file" => SecretSource::File(map.next_value()?),
            _ => return Err(de::Error::unknown_field(&key, &["file", "env"])),
        };
        match map.next_key::<String>()? {
            None => Ok(source),
            Some(_) => Err(de::Error::custom(only)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::from_str;

    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    struct File {
        token: Secret,
    }

    #[test]
    fn is_never_printed() {
        let file: File = from_str("token: hunter2", "f.yaml").unwrap();
        assert_eq!(file.token.expose(), "hunter2");
        let source = SecretSource::Text(file.token.clone());
        let shown = format!(
            "{file:?} {} {source:?} {} {}",
            file.token,
            serde_json::to_string(&source).unwrap(),
            serde_json::to_string(&file).unwrap()
        );
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(shown.matches(MASK).count(), 5);
    }

    #[test]
    fn is_read_from_a_file_without_its_line_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "s3cret\r\n").unwrap();
        let text = format!("token: {{file: {}}}", path.display());
        assert_eq!(
            from_str::<File>(&text, "f.yaml").unwrap().token.expose(),
            "s3cret"
        );

        std::fs::write(&path, "\n").unwrap();
        let error = from_str::<File>(&text, "f.yaml").unwrap_err().to_string();
        assert!(
            error.contains("f.yaml") && error.contains("token") && error.contains("is empty"),
            "{error}"
        );

        std::fs::remove_file(&path).unwrap();
        let error = from_str::<File>(&text, "f.yaml").unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
    }

    #[test]
    fn is_read_from_the_environment() {
        let path = from_str::<File>("token: {env: PATH}", "f.yaml").unwrap();
        assert_eq!(path.token.expose(), std::env::var("PATH").unwrap());
        let error = from_str::<File>("token: {env: CI_TUNNEL_NOT_SET}", "f.yaml")
            .unwrap_err()
            .to_string();
        assert!(error.contains("CI_TUNNEL_NOT_SET"), "{error}");
    }

    #[test]
    fn refuses_other_shapes_without_repeating_the_value() {
        for (text, says) in [
            ("token: 8675309", "text in quotes"),
            ("token: ''", "empty"),
            ("token: {}", "exactly one"),
            ("token: {file: a, env: b}", "exactly one"),
            ("token: {fil: a}", "unknown field `fil`"),
            ("token: [8675309]", "text in quotes"),
        ] {
            let error = from_str::<File>(text, "f.yaml").unwrap_err().to_string();
            assert!(
                error.contains(says) && !error.contains("8675309"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn a_source_can_be_loaded_before_its_file_exists() {
        let source: SecretSource = from_str("{file: /nonexistent/token}", "f.yaml").unwrap();
        assert_eq!(source, SecretSource::File("/nonexistent/token".into()));
        assert_eq!(
            serde_json::to_string(&source).unwrap(),
            r#"{"file":"/nonexistent/token"}"#
        );
        assert!(
            source
                .read()
                .unwrap_err()
                .to_string()
                .contains("/nonexistent/token")
        );
    }
}
