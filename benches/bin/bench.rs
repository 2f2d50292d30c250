//! Runs the benchmarks: `bench [quick|full] [small|bulk|stalled]...`. What is measured runs as processes of its own;
//! this one is the client.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use ci_tunnel_benches::report::Report;
use ci_tunnel_benches::small::Times;
use ci_tunnel_benches::tunnel::Tunnel;
use ci_tunnel_benches::{bulk, environment, small, stalled};
use clap::{Parser, ValueEnum};

#[derive(Debug, Parser)]
struct Arguments {
    #[arg(default_value = "quick")]
    length: Length,
    /// Which benchmarks; all of them unless some are named
    parts: Vec<Part>,
    /// Of small GETs and bulk, only the loads whose names contain this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Measure what lies beside this program, without building it first
    #[arg(long)]
    no_build: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Length {
    /// Three rounds of 2 s: for a look
    Quick,
    /// Five rounds of 5 s: for docs/benchmarks.md
    Full,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Small GETs
    Small,
    /// 1 GiB down and up
    Bulk,
    /// Small GETs beside stalled readers
    Stalled,
}

const PACKAGES: [&str; 3] = ["ci-tunnel-benches", "ci-tunnel-server", "ci-tunnel-agent"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if !arguments.no_build {
        build()?;
    }
    let environment = environment::describe();
    println!("{environment:#}");
    let mut report = Report::default();
    measure(&arguments, &mut report).await?;
    report.print();
    println!("load average at the end: {}", environment::load());
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    let file = report.write(&directory, &environment)?;
    println!("written: {}", file.display());
    Ok(())
}

/// Server and agent as the sources are now. The three packages are always built together, so that none is built twice
/// with other features of what they share.
fn build() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--locked"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    for package in PACKAGES {
        command.args(["-p", package]);
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    let status = command.status()?;
    ensure!(status.success(), "cargo build: {status}");
    Ok(())
}

async fn measure(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let wanted = |part| arguments.parts.is_empty() || arguments.parts.contains(&part);
    let (rounds, measure) = match arguments.length {
        Length::Quick => (3, Duration::from_secs(2)),
        Length::Full => (5, Duration::from_secs(5)),
    };
    let times = Times {
        warm_up: Duration::from_secs(1),
        measure,
    };
    let tunnel = Tunnel::start().await?;
    for round in 1..=rounds {
        eprintln!(
            "round {round} of {rounds}, load average {}",
            environment::load()
        );
        if wanted(Part::Small) {
            small::bench(&tunnel, times, &arguments.only, report).await?;
        }
        if wanted(Part::Bulk) {
            bulk::bench(&tunnel, &arguments.only, report).await?;
        }
    }
    for (process, pid) in [("server", tunnel.pids.server), ("agent", tunnel.pids.agent)] {
        let mebibytes = pid.memory()?.peak as f64 / f64::from(1 << 20);
        report.add(&format!("peak_{process}_rss"), mebibytes, "MiB");
    }
    drop(tunnel);
    if wanted(Part::Stalled) {
        stalled::bench(&[0, 64, 1000], times, report).await?;
    }
    Ok(())
}
