//! The log: text or JSON to standard error, its level changeable while the process runs.

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::net::{LogConfig, LogFormat};

/// The environment variable that overrules the configured level.
pub const VARIABLE: &str = "RUST_LOG";

/// Why there is no log, or no new level.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log was set up before.
    #[error("the log cannot be set up twice: {0}")]
    Initialized(#[from] TryInitError),
    /// The level is not one.
    #[error(
        "{origin}: `{directives}` is not a log level: write error, warn, info, debug or trace, or a list as info,ci_tunnel=debug: {source}"
    )]
    Level {
        /// Where the text is from.
        origin: &'static str,
        /// The text.
        directives: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// A word of the level is neither a level nor about a part of the program.
    #[error(
        "{origin}: `{word}` is not a log level: write error, warn, info, debug, trace or off, or a list as info,ci_tunnel=debug"
    )]
    Word {
        /// Where the text is from.
        origin: &'static str,
        /// The word.
        word: String,
    },
    /// The subscriber is gone.
    #[error("the log is no longer there: {0}")]
    Reload(#[from] reload::Error),
}

/// Sends the process's log to standard error, as `config` says unless `RUST_LOG` says otherwise.
///
/// # Errors
/// A level that is none; a second call.
pub fn init(config: &LogConfig) -> Result<LogLevel, Error> {
    let variable = std::env::var(VARIABLE)
        .ok()
        .filter(|text| !text.trim().is_empty());
    let color = io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (subscriber, level) = subscriber(config, variable.as_deref(), color, io::stderr)?;
    subscriber.try_init()?;
    Ok(level)
}

/// Whether the level of `config` is one.
///
/// # Errors
/// It is not.
pub fn check(config: &LogConfig) -> Result<(), Error> {
    parse(FIELD, &config.level).map(drop)
}

/// The field that holds the level.
const FIELD: &str = "log.level";

fn subscriber<W>(
    config: &LogConfig,
    variable: Option<&str>,
    color: bool,
    writer: W,
) -> Result<(impl Subscriber + use<W>, LogLevel), Error>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = match variable {
        Some(directives) => parse(VARIABLE, directives)?,
        None => parse(FIELD, &config.level)?,
    };
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(color);
    let lines = match config.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .boxed(),
    };
    Ok((
        Registry::default().with(filter).with(lines),
        LogLevel(handle),
    ))
}

fn parse(origin: &'static str, directives: &str) -> Result<EnvFilter, Error> {
    // The filter takes a bare word for a part of the program, and `loud` would silence everything else.
    let mut words = directives.split(',').map(str::trim);
    let bare = |word: &&str| !word.contains(['=', '[']);
    if let Some(word) = words.find(|word| bare(word) && word.parse::<LevelFilter>().is_err()) {
        return Err(Error::Word {
            origin,
            word: word.to_owned(),
        });
    }
    EnvFilter::builder()
        .parse(directives)
        .map_err(|source| Error::Level {
            origin,
            directives: directives.to_owned(),
            source,
        })
}

/// The level of the running log. Clones share it.
#[derive(Debug, Clone)]
pub struct LogLevel(reload::Handle<EnvFilter, Registry>);

impl LogLevel {
    /// Changes the level from now on.
    ///
    /// # Errors
    /// The text is no level; the old one stays.
    pub fn set(&self, directives: &str) -> Result<(), Error> {
        let directives = directives.trim();
        Ok(self.0.reload(parse("level", directives)?)?)
    }

    /// The level as it is now.
    #[must_use]
    pub fn current(&self) -> String {
        self.0.with_current(ToString::to_string).unwrap_or_default()
    }

    /// A level that no log obeys, for tests of what only shows or sets it. The subscriber must be kept alive.
    #[cfg(test)]
    pub(crate) fn detached() -> (impl Subscriber, Self) {
        subscriber(&LogConfig::default(), None, false, io::sink).expect("the default level is one")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    fn log(format: LogFormat, variable: Option<&str>) -> (impl Subscriber, LogLevel, Lines) {
        let (lines, config) = (
            Lines::default(),
            LogConfig {
                level: "info".to_owned(),
                format,
            },
        );
        let writer = lines.clone();
        let (subscriber, level) =
            subscriber(&config, variable, false, move || writer.clone()).unwrap();
        (subscriber, level, lines)
    }

    #[test]
    fn the_level_can_be_changed() {
        let (subscriber, level, lines) = log(LogFormat::Text, None);
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("first");
            assert_eq!(
                (lines.take().as_str(), level.current().as_str()),
                ("", "info")
            );
            level.set("debug\n").unwrap();
            tracing::debug!(answer = 42, "second");
            assert!(lines.take().contains("second answer=42"));
            for wrong in ["noisy=loud", "loud", "info,loud", ""] {
                let error = level.set(wrong).unwrap_err().to_string();
                assert!(
                    error.contains(wrong) && level.current() == "debug",
                    "{error}"
                );
            }
        });
    }

    #[test]
    fn json_is_one_object_a_line() {
        let (subscriber, _level, lines) = log(LogFormat::Json, None);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info_span!("request", request.id = "r1")
                .in_scope(|| tracing::info!(agent.id = 7, "hello"));
        });
        let line: serde_json::Value = serde_json::from_str(&lines.take()).unwrap();
        assert_eq!(
            (&line["message"], &line["agent.id"]),
            (&"hello".into(), &7.into())
        );
        assert_eq!(line["span"]["request.id"], "r1");
    }

    #[test]
    fn the_variable_overrules_the_file() {
        let (_subscriber, level, _) = log(LogFormat::Text, Some("warn,ci_tunnel=trace"));
        assert_eq!(level.current(), "ci_tunnel=trace,warn");
        let Err(error) = subscriber(&LogConfig::default(), Some("=="), false, io::sink) else {
            panic!("`==` is no level")
        };
        assert!(error.to_string().contains(VARIABLE), "{error}");
    }
}
