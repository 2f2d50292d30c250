//! Makes pages of runs that were measured before: `bench-report FILE... [--html FILE] [--into docs/benchmarks.md]`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use ci_tunnel_benches::report::{Page, Run};
use clap::Parser;

#[derive(Debug, Parser)]
struct Arguments {
    /// Files of runs; where several have a workload, the last counts
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Write one page that needs no other file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write tables between the marks of this file, and pictures beside it
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runs = arguments.runs.iter().map(|file| Run::read(file));
    let runs = runs.collect::<Result<Vec<_>>>()?;
    let run = runs.into_iter().reduce(Run::joined).context("no run")?;
    let page = Page::new(run)?;
    if let Some(file) = &arguments.html {
        std::fs::write(file, page.html()).with_context(|| file.display().to_string())?;
    }
    if let Some(document) = &arguments.into {
        page.write_into(document)?;
    }
    Ok(())
}
