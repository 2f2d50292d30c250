//! Programs of this workspace, and others, as child processes.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::deadline::{within, within_time};

/// A running child; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: Output,
    readers: JoinSet<()>,
}

/// What to do to a process.
#[derive(Debug, Clone, Copy)]
pub enum Signal {
    Cont,
    Hup,
    Int,
    Kill,
    Stop,
    Term,
}

/// What a child wrote: the last lines in memory, all of them in a file.
#[derive(Debug, Clone)]
struct Output {
    lines: Arc<Mutex<Lines>>,
    written: watch::Sender<u64>,
}

#[derive(Debug)]
struct Lines {
    last: VecDeque<String>,
    file: File,
}

impl Process {
    /// Starts `command`; what it writes to stdout and stderr goes, line by line, to `log` and into memory.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let lines = Lines {
            last: VecDeque::new(),
            file,
        };
        let output = Output {
            lines: Arc::new(Mutex::new(lines)),
            written: watch::Sender::new(0),
        };
        let mut readers = JoinSet::new();
        readers.spawn(
            output
                .clone()
                .read(child.stdout.take().expect("piped above")),
        );
        readers.spawn(
            output
                .clone()
                .read(child.stderr.take().expect("piped above")),
        );
        Ok(Self {
            name: name.to_owned(),
            child,
            output,
            readers,
        })
    }

    /// None once the process was waited for.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The last 1,000 lines that the process wrote.
    pub fn lines(&self) -> Vec<String> {
        self.output
            .lines
            .lock()
            .unwrap()
            .last
            .iter()
            .cloned()
            .collect()
    }

    /// The first line that satisfies `wanted`, written already or to come; an error at once when the process ends without it.
    pub async fn wait_for_line(
        &mut self,
        what: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let mut written = self.output.written.subscribe();
        let (output, child, readers) = (&self.output, &mut self.child, &mut self.readers);
        let line = within(what, async {
            let mut ended = None;
            loop {
                if let Some(line) = output.find(&wanted) {
                    return Ok(line);
                }
                if let Some(status) = ended {
                    bail!("it ended with {status}");
                }
                tokio::select! {
                    biased;
                    changed = written.changed() => changed.context("its output is closed")?,
                    status = child.wait() => {
                        ended = Some(status?);
                        // Its last words may still be in the pipes.
                        while readers.join_next().await.is_some() {}
                    }
                }
            }
        });
        let line = line.await.and_then(|line| line);
        line.with_context(|| {
            format!(
                "{}: waiting for {what}; it wrote:\n{}",
                self.name,
                self.lines().join("\n")
            )
        })
    }

    /// Waits until `GET path` at this address of plain HTTP answers 200. The address may not be bound yet, so this asks again.
    pub async fn wait_until_ready(&self, addr: std::net::SocketAddr, path: &str) -> Result<()> {
        let mut pause = tokio::time::interval(Duration::from_millis(20));
        let ready = async {
            while !matches!(status(addr, path).await, Ok(200)) {
                pause.tick().await;
            }
        };
        let waited = within(&format!("http://{addr}{path} to answer 200"), ready).await;
        waited.with_context(|| format!("{} wrote:\n{}", self.name, self.lines().join("\n")))
    }

    /// Sends a signal to this process, and to no other.
    pub async fn signal(&self, signal: Signal) -> Result<()> {
        let id = self
            .id()
            .with_context(|| format!("{} has ended", self.name))?;
        let status = Command::new("kill")
            .arg(signal.flag())
            .arg(id.to_string())
            .status()
            .await
            .context("running kill")?;
        ensure!(
            status.success(),
            "kill {} of {}: {status}",
            signal.flag(),
            self.name
        );
        Ok(())
    }

    /// Waits for the process to end by itself.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        within_time(limit, &format!("{} to end", self.name), self.child.wait())
            .await?
            .context("waiting for a child")
    }
}

impl Signal {
    pub(crate) const fn flag(self) -> &'static str {
        match self {
            Self::Cont => "-CONT",
            Self::Hup => "-HUP",
            Self::Int => "-INT",
            Self::Kill => "-KILL",
            Self::Stop => "-STOP",
            Self::Term => "-TERM",
        }
    }
}

impl Output {
    fn find(&self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        self.lines
            .lock()
            .unwrap()
            .last
            .iter()
            .find(|line| wanted(line))
            .cloned()
    }

    async fn read(self, pipe: impl AsyncRead + Unpin) {
        let mut lines = BufReader::new(pipe).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            {
                let mut known = self.lines.lock().unwrap();
                // The file is for the person who looks into a failure; a full disk must not be a second one.
                let _ = writeln!(known.file, "{line}");
                known.last.push_back(line);
                if known.last.len() > LINES {
                    known.last.pop_front();
                }
            }
            self.written.send_modify(|count| *count += 1);
        }
    }
}

/// The path of a program of this workspace, which cargo builds beside the test or program that runs now.
pub fn binary(name: &str) -> Result<PathBuf> {
    let running = std::env::current_exe().context("finding the running program")?;
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    // target/<profile>/<program> or target/<profile>/deps/<test>
    let beside = running.ancestors().skip(1).take(2);
    let mut paths = beside.map(|directory| directory.join(&file));
    paths.find(|path| path.exists()).with_context(|| {
        format!(
            "{file} is not built beside {}: `cargo build -p {name}` builds it",
            running.display()
        )
    })
}

/// A program in `PATH`, if there is one.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

async fn status(addr: std::net::SocketAddr, path: &str) -> Result<u16> {
    let mut stream = TcpStream::connect(addr).await?;
    stream
        .write_all(
            format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    std::str::from_utf8(&head[9..])?
        .parse()
        .context("a status that is no number")
}

const LINES: usize = 1000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Command, Process, Signal, binary};

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn captures_lines_and_sends_signals() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let log = directory.path().join("log");
        let script =
            "trap 'echo told >&2; kill $!; exit 7' TERM; sleep 60 & echo started >&2; wait";
        let mut process = Process::start("trap", shell(script), &log)?;
        process
            .wait_for_line("the start", |line| line == "started")
            .await?;
        process.signal(Signal::Stop).await?;
        process.signal(Signal::Term).await?;
        process.signal(Signal::Cont).await?;
        process
            .wait_for_line("the answer", |line| line == "told")
            .await?;
        assert_eq!(process.wait(Duration::from_secs(5)).await?.code(), Some(7));
        assert_eq!(std::fs::read_to_string(log)?, "started\ntold\n");
        Ok(())
    }

    #[tokio::test]
    async fn says_what_a_process_wrote_that_ended_too_early() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let mut process = Process::start(
            "short",
            shell("echo no such file; exit 1"),
            &directory.path().join("log"),
        )?;
        let error = process
            .wait_for_line("readiness", |line| line == "ready")
            .await
            .unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("no such file") && text.contains("exit status: 1"),
            "{text}"
        );
        Ok(())
    }

    #[test]
    fn says_how_to_build_a_missing_program() {
        let error = binary("no-such-program").unwrap_err().to_string();
        assert!(error.contains("cargo build -p no-such-program"), "{error}");
    }
}
