//! A Unix stream socket that somebody listens on.
//!
//! A stream and not datagrams: a line may be longer than a datagram, a reader that is slow holds lines up where they are
//! counted instead of losing them in the kernel, and its end is noticed.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Type};

/// The way to the reader.
#[derive(Debug)]
pub(in super::super) struct Socket {
    path: PathBuf,
    stream: Option<socket2::Socket>,
}

/// For a reader that does not accept.
const CONNECT: Duration = Duration::from_secs(1);
/// For a reader that does not read; then the end of the program is looked for, and it is tried again.
const WRITE: Duration = Duration::from_secs(1);

impl Socket {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            stream: None,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.stream.is_some()
    }

    pub(super) fn connect(&mut self) -> io::Result<&mut socket2::Socket> {
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
                stream.connect_timeout(&SockAddr::unix(&self.path)?, CONNECT)?;
                stream.set_write_timeout(Some(WRITE))?;
                stream
            }
        };
        Ok(self.stream.insert(stream))
    }

    /// Connects first where that is needed; `bytes` must begin with a line then.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.connect()?.write(bytes);
        if let Err(error) = &written
            && !matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
            )
        {
            self.stream = None;
        }
        written
    }
}
