//! `audit`: checks the chain of the audit log, and finds lines in it.

mod query;
#[cfg(test)]
mod tests;
mod verify;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Timestamp;

use crate::audit::files::Source;
use crate::audit::query as lines;
use crate::config::Config;

/// Subcommands of `audit`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Check that no line was changed, removed, inserted or moved; exit 1 if one was
    Verify(verify::Args),
    /// Print the lines that fit
    Query(Box<query::Args>),
}

/// # Errors
/// A file can not be read, or the output fails.
pub fn run(command: &Command, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match command {
        Command::Verify(args) => verify::run(args, config, out),
        Command::Query(args) => query::run(args, config, Timestamp::now(), out),
    }
}

/// The named files, or those that the server writes.
fn sources(files: &[PathBuf], config: &Config) -> Result<Vec<Source>, lines::Error> {
    if files.is_empty() {
        lines::sources(&config.audit, &config.state_dir)
    } else {
        Ok(files.iter().cloned().map(Source::from).collect())
    }
}
