//! `check --agent-config`: lints agent configuration files, for a pipeline of the configuration project.
//!
//! Needs the program alone: no server, no state, no configuration of its own.

mod report;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::access::MAX_FILE;
use crate::access::lint::{self, Finding, Severity};

/// Arguments of `check` about files of agent configuration.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// Lint these agent configuration files instead, `-` for standard input. Needs no server and no configuration.
    /// Exit 0: nothing, or warnings and notes; 1: errors (with --strict: or warnings); 2: a file can not be read
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub agent_config: Vec<PathBuf>,
    /// How findings are printed
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "text",
        requires = "agent_config"
    )]
    pub format: Format,
    /// Warnings end with exit status 1 too
    #[arg(long, requires = "agent_config")]
    pub strict: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line a finding: file, line, column
    Text,
    /// A list of objects
    Json,
    /// GitLab's Code Quality report
    CodeQuality,
    /// SARIF 2.1.0
    Sarif,
}

/// How it ended. The numbers are the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Good = 0,
    Failed = 1,
    Unreadable = 2,
}

/// What was found in a file.
struct Linted {
    name: String,
    findings: Vec<Finding>,
}

/// Lints all files, prints the findings, and says on `err` which files can not be read.
///
/// # Errors
/// The output fails.
pub fn run(
    args: &Args,
    input: &mut impl Read,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<Outcome> {
    let mut outcome = Outcome::Good;
    let mut linted = Vec::new();
    for file in &args.agent_config {
        let name = name(file);
        match content(file, input) {
            Ok(content) => linted.push(Linted {
                findings: lint::file(&content),
                name,
            }),
            Err(error) => {
                outcome = Outcome::Unreadable;
                writeln!(err, "error: {name}: {error}")?;
            }
        }
    }
    let worst = linted
        .iter()
        .flat_map(|file| &file.findings)
        .map(Finding::severity)
        .max();
    let fails_at = if args.strict {
        Severity::Warning
    } else {
        Severity::Error
    };
    if worst >= Some(fails_at) {
        outcome = outcome.max(Outcome::Failed);
    }
    report::print(args.format, &linted, out)?;
    Ok(outcome)
}

/// As reports name it: below the folder that the command runs in, where it is.
fn name(file: &Path) -> String {
    if file == Path::new("-") {
        return "stdin".to_owned();
    }
    let file = file.strip_prefix("./").unwrap_or(file);
    let here = std::env::current_dir().ok();
    let below = here
        .as_deref()
        .and_then(|here| file.strip_prefix(here).ok());
    below.unwrap_or(file).display().to_string()
}

/// One byte over the limit at most, which is then found to be too many.
fn content(file: &Path, input: &mut impl Read) -> io::Result<Vec<u8>> {
    let limit = MAX_FILE as u64 + 1;
    let mut content = Vec::new();
    if file == Path::new("-") {
        input.take(limit).read_to_end(&mut content)?;
    } else {
        std::fs::File::open(file)?
            .take(limit)
            .read_to_end(&mut content)?;
    }
    Ok(content)
}

#[cfg(test)]
mod tests;
