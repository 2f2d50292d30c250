//! Where audit lines go: `stdout`, `{file: PATH}` or `{socket: PATH}`; and the way there, once it is open.

mod file;
mod socket;

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

use serde::Deserialize;

pub(super) use file::LogFile;
use socket::Socket;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Form")]
pub enum Output {
    /// A file that is appended to. SIGHUP opens it again, so that it can be moved away.
    File(PathBuf),
    /// A Unix stream socket that somebody listens on.
    Socket(PathBuf),
    Stdout,
}

/// As it is written in the file.
#[derive(Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "write `stdout`, `{file: PATH}` or `{socket: PATH}`"
)]
enum Form {
    Word(Word),
    File { file: PathBuf },
    Socket { socket: PathBuf },
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Stdout,
}

/// An output that is open, or tries to be.
#[derive(Debug)]
pub(super) enum Open {
    File(LogFile),
    Socket(Socket),
    Stdout,
}

impl Output {
    /// A socket that nobody listens on yet is no error: lines wait for it.
    pub(super) fn open(&self) -> io::Result<Open> {
        Ok(match self {
            Self::File(path) => Open::File(LogFile::open(path)?),
            Self::Socket(path) => Open::Socket(Socket::new(path)),
            Self::Stdout => Open::Stdout,
        })
    }

    /// Whether lines could be written now.
    pub(super) fn check(&self) -> io::Result<()> {
        match self {
            Self::File(path) => LogFile::open(path).map(drop),
            Self::Socket(path) => Socket::new(path).connect().map(drop),
            Self::Stdout => Ok(()),
        }
    }
}

impl Open {
    /// Writes some of `bytes`, the begin of which is the begin of a line or follows what was written last.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = match self {
            Self::File(file) => file.write(bytes)?,
            Self::Socket(socket) => socket.write(bytes)?,
            Self::Stdout => {
                let count = io::stdout().write(bytes)?;
                io::stdout().flush()?;
                count
            }
        };
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(count)
    }

    /// Makes what was written durable, where that can be asked for.
    pub(super) fn sync(&self) -> io::Result<()> {
        match self {
            Self::File(file) => file.sync(),
            Self::Socket(_) | Self::Stdout => Ok(()),
        }
    }

    /// Whether what is written next follows what was written last. Not so for a socket whose reader is gone: a line of
    /// which only a part was written must be written from its begin.
    pub(super) fn is_continuous(&self) -> bool {
        match self {
            Self::Socket(socket) => socket.is_connected(),
            Self::File(_) | Self::Stdout => true,
        }
    }

    /// Opens a file again that was moved away, or whose disk was. True when it is another than before, for which the
    /// same holds.
    pub(super) fn reopen(&mut self) -> io::Result<bool> {
        match self {
            Self::File(file) => file.reopen(),
            Self::Socket(_) | Self::Stdout => Ok(false),
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Socket(path) => write!(f, "the socket {}", path.display()),
            Self::Stdout => f.write_str("standard output"),
        }
    }
}

impl From<Form> for Output {
    fn from(form: Form) -> Self {
        match form {
            Form::Word(Word::Stdout) => Self::Stdout,
            Form::File { file } => Self::File(file),
            Form::Socket { socket } => Self::Socket(socket),
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
        let socket = output("output: {socket: /run/audit.sock}")?;
        assert_eq!(socket, Some(Output::Socket("/run/audit.sock".into())));
        assert_eq!(output("on_failure: refuse")?, None);
        let error = output("output: {path: x}").unwrap_err().to_string();
        assert!(error.contains("`{file: PATH}`"), "{error}");
        Ok(())
    }
}
