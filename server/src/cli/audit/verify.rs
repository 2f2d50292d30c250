//! `audit verify`: whether the chain is whole.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;

use super::sources;
use crate::audit::verify::{Expected, MAX_FINDINGS, Report, verify};
use crate::audit::{Head, Mac, noted};
use crate::cli::output;
use crate::config::Config;

/// Arguments of `audit verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files to check, the oldest first; without any, those that the server writes
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A line that must be there, as an earlier check printed its last one: finds an end that was cut off. Default, where
    /// no files are named: the last one that the server noted in its state directory
    #[arg(long, value_name = "NUMBER:HASH")]
    pub expect_last: Option<Head>,
    /// Holds the key of the chain; several while it changes. Default: `audit.chain_key_file`
    #[arg(long, value_name = "PATH")]
    pub key_file: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(args: &Args, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let files = if args.key_file.is_empty() {
        config.audit.chain_key_file.as_slice()
    } else {
        &args.key_file
    };
    let keys = files.iter().map(|file| Mac::new(Some(file)));
    let noted = || match args.files.as_slice() {
        // Read before the log: what is noted has been written.
        [] => noted(&config.state_dir),
        // They may be older ones.
        _ => Ok(None),
    };
    let expected = Expected {
        keys: keys.collect::<Result<_, _>>()?,
        line: match args.expect_last {
            Some(line) => Some(line),
            None => noted().context("the note of the last line, in state_dir")?,
        },
    };
    let report = verify(sources(&args.files, config)?, &expected)?;
    if args.json {
        print_json(&report, out)?;
    } else {
        print_text(&report, out)?;
    }
    Ok(if report.wrong.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print_text(report: &Report, out: &mut impl Write) -> io::Result<()> {
    for note in &report.notes {
        writeln!(out, "note: {note}")?;
    }
    for wrong in &report.wrong {
        writeln!(out, "WRONG: {wrong}")?;
    }
    if report.wrong.len() == MAX_FINDINGS {
        writeln!(out, "WRONG: and perhaps more")?;
    }
    let (lines, files) = (report.lines, report.files);
    let verdict = if report.wrong.is_empty() {
        "ok"
    } else {
        "NOT OK"
    };
    write!(out, "{verdict}: {lines} lines in {files} files")?;
    match (report.first, report.last) {
        (Some(first), Some(last)) => writeln!(out, ", from {first} on; the last is {last}"),
        _ => writeln!(out),
    }
}

fn print_json(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let place = |place: &Option<(PathBuf, u64)>| {
        place
            .as_ref()
            .map(|(file, line)| json!({"file": file, "line": line}))
    };
    let notes = report.notes.iter();
    let wrong = report.wrong.iter();
    let value = json!({
        "ok": report.wrong.is_empty(),
        "files": report.files,
        "lines": report.lines,
        "first": report.first,
        "last": report.last.map(|last| last.to_string()),
        "wrong": wrong
            .map(|wrong| json!({"at": place(&wrong.place), "message": wrong.what.to_string()}))
            .collect::<Vec<_>>(),
        "notes": notes
            .map(|note| json!({"at": place(&note.place), "message": note.what.to_string()}))
            .collect::<Vec<_>>(),
    });
    output::json(out, &value)
}
