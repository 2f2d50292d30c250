//! `audit` in the server's file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ci_tunnel::config::value::{ByteSize, duration, parse_duration};
use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::output::Output;

#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where lines go. Default: the file `audit.log` in `state_dir`.
    pub output: Option<Output>,
    /// When a file is closed and the next one begun. Default: never by this server; SIGHUP opens it again.
    pub rotate: Option<Rotate>,
    /// What happens to requests while lines can not be written. Default `count`.
    pub on_failure: OnFailure,
    /// When lines must be on the disk, and not only in the kernel's memory. Default: within `1s`.
    pub sync: Sync,
    /// Bytes of lines that wait for the output. Default 16MiB.
    pub queue: ByteSize,
    /// Holds the key that makes the hashes of the chain. Default: none, so that everybody can check and make them.
    pub chain_key_file: Option<PathBuf>,
}

/// When a file is closed, and which closed ones stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rotate {
    /// Before it grows over this.
    pub size: Option<ByteSize>,
    /// At each multiple of this, counted in UTC: `1d` is at midnight.
    #[serde(with = "duration::option")]
    pub every: Option<Duration>,
    /// The most closed files. Default: all.
    pub keep: Option<usize>,
    /// How long closed files stay. Default: for ever.
    #[serde(with = "duration::option")]
    pub keep_for: Option<Duration>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Lines that find the queue full are lost, counted, and a line says how many.
    #[default]
    Count,
    /// New requests are refused with 503 until lines can be written again; no line of a request is lost.
    Refuse,
}

/// When lines are made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Before the next lines are written.
    Batch,
    /// Within this time.
    Every(Duration),
    /// When the system sees fit.
    Never,
}

/// Why settings do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("audit.rotate: only a file can be rotated, and audit.output is {0}")]
    NoFile(String),
    #[error("audit.rotate: say when: `size: 100MiB`, `every: 1d`, or both")]
    NoReason,
    #[error("audit.rotate.size must be {MIN_SIZE} at least")]
    Size,
    #[error("audit.rotate.every must be 1m at least")]
    Every,
    #[error("audit.rotate.keep must be more than 0")]
    Keep,
    #[error("audit.queue must be {MIN_QUEUE} at least")]
    Queue,
}

const MIN_SIZE: ByteSize = ByteSize::kib(4);
const MIN_QUEUE: ByteSize = ByteSize::kib(64);

impl Default for Config {
    fn default() -> Self {
        Self {
            output: None,
            rotate: None,
            on_failure: OnFailure::default(),
            sync: Sync::Every(Duration::from_secs(1)),
            queue: ByteSize::mib(16),
            chain_key_file: None,
        }
    }
}

impl Config {
    /// Where lines go, the default filled in.
    pub fn output(&self, state_dir: &Path) -> Output {
        let default = || Output::File(state_dir.join("audit.log"));
        self.output.clone().unwrap_or_else(default)
    }

    /// # Errors
    /// Settings do not fit together.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.queue < MIN_QUEUE {
            return Err(Invalid::Queue);
        }
        let Some(rotate) = &self.rotate else {
            return Ok(());
        };
        if let Some(output) = &self.output
            && !matches!(output, Output::File(_))
        {
            return Err(Invalid::NoFile(output.to_string()));
        }
        match rotate {
            Rotate {
                size: None,
                every: None,
                ..
            } => Err(Invalid::NoReason),
            Rotate {
                size: Some(size), ..
            } if *size < MIN_SIZE => Err(Invalid::Size),
            Rotate {
                every: Some(every), ..
            } if *every < Duration::from_secs(60) => Err(Invalid::Every),
            Rotate { keep: Some(0), .. } => Err(Invalid::Keep),
            _ => Ok(()),
        }
    }
}

impl<'de> Deserialize<'de> for Sync {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SyncVisitor)
    }
}

struct SyncVisitor;

impl Visitor<'_> for SyncVisitor {
    type Value = Sync;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`batch`, `never` or a duration over 0, as 1s")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Sync, E> {
        match text {
            "batch" => Ok(Sync::Batch),
            "never" => Ok(Sync::Never),
            other => match parse_duration(other) {
                Ok(every) if !every.is_zero() => Ok(Sync::Every(every)),
                _ => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use ci_tunnel::config::load;

    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let config: Config = load::from_str(text, "test").map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn is_read_as_people_write_it() {
        let config = read("rotate: {size: 100MiB, every: 1d, keep: 90, keep_for: 365d}\nsync: batch\nqueue: 1MiB\nchain_key_file: /key").unwrap();
        let rotate = config.rotate.unwrap();
        assert_eq!(rotate.size, Some(ByteSize::mib(100)));
        assert_eq!(rotate.every, Some(Duration::from_secs(86_400)));
        assert_eq!(config.sync, Sync::Batch);
        assert_eq!(read("sync: never").unwrap().sync, Sync::Never);
        assert_eq!(read("sync: 1s").unwrap(), Config::default());
    }

    #[test]
    fn what_does_not_fit_is_told() {
        for (text, told) in [
            ("rotate: {}", "say when"),
            ("rotate: {keep: 3}", "say when"),
            ("rotate: {size: 1KiB}", "4KiB"),
            ("rotate: {every: 1s}", "1m"),
            ("rotate: {every: 1d, keep: 0}", "more than 0"),
            ("rotate: {every: 1d}\noutput: stdout", "standard output"),
            ("queue: 1KiB", "64KiB"),
            ("sync: 0s", "`batch`"),
            ("sync: often", "`batch`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
