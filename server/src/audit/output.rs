//! Where audit lines go: `stdout`, or `{file: PATH}`.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::sink::Error;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Form", into = "Form")]
pub enum Output {
    /// A file that is appended to, and opened again on SIGHUP so that it can be rotated.
    File(PathBuf),
    Stdout,
}

/// As it is written in the file.
#[derive(Serialize, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "write `stdout` or `{file: PATH}`"
)]
enum Form {
    Word(Word),
    File { file: PathBuf },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Stdout,
}

impl Output {
    /// The file, opened for appending; none for standard output.
    pub(super) fn open(&self) -> Result<Option<File>, Error> {
        let Self::File(path) = self else {
            return Ok(None);
        };
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let file = options.open(path).map_err(|source| Error::Open {
            path: path.clone(),
            source,
        })?;
        Ok(Some(file))
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Stdout => f.write_str("standard output"),
        }
    }
}

impl From<Form> for Output {
    fn from(form: Form) -> Self {
        match form {
            Form::Word(Word::Stdout) => Self::Stdout,
            Form::File { file } => Self::File(file),
        }
    }
}

impl From<Output> for Form {
    fn from(output: Output) -> Self {
        match output {
            Output::Stdout => Self::Word(Word::Stdout),
            Output::File(file) => Self::File { file },
        }
    }
}

#[cfg(test)]
mod tests {
    use ci_tunnel::config::load;

    use super::super::{Config, Output};

    #[test]
    fn is_written_as_people_expect() -> Result<(), load::Error> {
        let output =
            |text: &str| load::from_str::<Config>(text, "test").map(|config| config.output);
        assert_eq!(output("output: stdout")?, Some(Output::Stdout));
        let file = output("output: {file: /var/log/audit.log}")?;
        assert_eq!(file, Some(Output::File("/var/log/audit.log".into())));
        assert_eq!(output("on_failure: refuse")?, None);
        let error = output("output: {path: x}").unwrap_err().to_string();
        assert!(error.contains("`{file: PATH}`"), "{error}");
        Ok(())
    }
}
