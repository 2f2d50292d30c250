//! Runs commands as a person would type them, and shows each before its output.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _, stdout};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use ci_tunnel_tests::deadline::within_time;
use ci_tunnel_tests::process::Process;
use tokio::process::Command;

/// A shell in a folder, with variables of its own.
#[derive(Debug)]
pub(crate) struct Shell {
    folder: PathBuf,
    variables: Vec<(&'static str, OsString)>,
    paint: bool,
    started: usize,
}

/// A command that runs beside the next ones; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    process: Process,
    shown: usize,
}

impl Shell {
    /// `path` comes before the directories of `PATH`.
    pub(crate) fn new(folder: &Path, path: &[&Path]) -> Result<Self> {
        let known = std::env::var_os("PATH").unwrap_or_default();
        let directories = path.iter().map(|directory| directory.to_path_buf());
        let path = std::env::join_paths(directories.chain(std::env::split_paths(&known)))?;
        Ok(Self {
            folder: folder.to_owned(),
            variables: vec![("PATH", path)],
            paint: stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            started: 0,
        })
    }

    pub(crate) fn heading(&self, text: &str) {
        let (on, off) = self.paint("1;4");
        say(&format!("\n{on}{text}{off}"));
    }

    pub(crate) fn remark(&self, text: &str) {
        let (on, off) = self.paint("2");
        text.lines()
            .for_each(|line| say(&format!("{on}# {line}{off}")));
    }

    /// Sets a variable for all commands to come.
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<OsString>) {
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.into()));
    }

    /// Sets a variable to a file of the folder, and shows it.
    pub(crate) fn export(&mut self, name: &'static str, file: &str) {
        self.prompt(&format!("export {name}=$PWD/{file}"));
        self.set(name, self.folder.join(file));
    }

    /// Shows a command that somebody else runs.
    pub(crate) fn prompt(&self, line: &str) {
        let (on, off) = self.paint("1");
        say(&format!("\n{on}$ {line}{off}"));
    }

    /// Runs a command that must succeed; what it wrote.
    pub(crate) async fn run(&self, line: &str) -> Result<String> {
        let (success, output) = self.end_of(line).await?;
        ensure!(success, "this should have succeeded: {line}");
        Ok(output)
    }

    /// Runs a command that must fail; what it wrote.
    pub(crate) async fn refused(&self, line: &str) -> Result<String> {
        let (success, output) = self.end_of(line).await?;
        ensure!(!success, "this should have failed: {line}");
        Ok(output)
    }

    /// Runs a command that must succeed, and shows it only if it does not.
    pub(crate) async fn quietly(&self, line: &str) -> Result<String> {
        let (success, output) = self.output(line).await?;
        ensure!(success, "{line}: {output}");
        Ok(output)
    }

    /// Starts a command that does not end by itself.
    pub(crate) fn start(&mut self, line: &str) -> Result<Running> {
        self.prompt(&format!("{line} &"));
        self.started += 1;
        let log = self.folder.join(format!("command-{}.log", self.started));
        // `exec`: the process that is ended is the command itself.
        let process = Process::start(line, self.command(&format!("exec {line}")), &log)?;
        Ok(Running { process, shown: 0 })
    }

    async fn end_of(&self, line: &str) -> Result<(bool, String)> {
        self.prompt(line);
        let (success, output) = self.output(line).await?;
        output.lines().for_each(say);
        Ok((success, output))
    }

    async fn output(&self, line: &str) -> Result<(bool, String)> {
        let mut command = self.command(&format!("exec 2>&1\n{line}"));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let output = within_time(LONGEST, line, command.output()).await?;
        let output = output.with_context(|| format!("running {line}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((output.status.success(), text))
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .current_dir(&self.folder)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .kill_on_drop(true);
        command
    }

    fn paint(&self, code: &str) -> (String, &'static str) {
        if self.paint {
            (format!("\x1b[{code}m"), "\x1b[0m")
        } else {
            (String::new(), "")
        }
    }
}

impl Running {
    /// Shows what the command writes, until a line has all these texts.
    pub(crate) async fn show_until(&mut self, texts: &[&str]) -> Result<()> {
        let wanted = |line: &str| texts.iter().all(|text| line.contains(text));
        let what = format!("a line with {texts:?}");
        let found = self.process.wait_for_line(&what, wanted).await;
        self.show();
        found.map(drop)
    }

    /// Shows what the command writes, until there is a line that is none of `known`.
    pub(crate) async fn show_more(&mut self, known: &[String]) -> Result<()> {
        let is_new = |line: &str| !known.iter().any(|old| old == line);
        let found = self.process.wait_for_line("another line", is_new).await;
        self.show();
        found.map(drop)
    }

    /// What it wrote.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.process.lines()
    }

    fn show(&mut self) {
        let lines = self.process.lines();
        lines.iter().skip(self.shown).for_each(|line| say(line));
        self.shown = lines.len();
    }
}

/// Writes a line for people. Nobody may be reading any more: then there is nothing to say.
pub(crate) fn say(line: &str) {
    let _ = writeln!(stdout(), "{line}");
}

/// Fails unless `output` has all of `texts`.
pub(crate) fn expect(output: &str, texts: &[&str]) -> Result<()> {
    for text in texts {
        if !output.contains(text) {
            bail!("{text:?} should have been in this output:\n{output}");
        }
    }
    Ok(())
}

/// A cluster may have to load an image first.
const LONGEST: Duration = Duration::from_secs(180);
