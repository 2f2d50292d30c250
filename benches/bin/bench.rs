//! Runs the benchmarks: `bench [quick|full] [WORKLOAD]...`. What is measured runs as processes of its own; this one is
//! the client.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use ci_tunnel_benches::peers::{Peer, Programs};
use ci_tunnel_benches::plan::{Length, Plan};
use ci_tunnel_benches::report::{Described, Page, Report, Run};
use ci_tunnel_benches::workload::Workload;
use ci_tunnel_benches::{affinity, environment};
use clap::{Parser, ValueEnum as _};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, Parser)]
struct Arguments {
    #[arg(default_value = "quick")]
    length: Length,
    /// Which workloads; all of them unless some are named
    workloads: Vec<Workload>,
    /// Only the cases whose names contain this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Which peers; all that are built unless some are named
    #[arg(
        long,
        value_name = "PEERS",
        value_delimiter = ',',
        conflicts_with = "no_peers"
    )]
    peers: Option<Vec<Peer>>,
    /// Measure no peer
    #[arg(long)]
    no_peers: bool,
    /// How many processors all processes share
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    processors: usize,
    /// Measure what lies beside this program, without building it first
    #[arg(long)]
    no_build: bool,
}

const PACKAGES: [&str; 3] = ["ci-tunnel-benches", "ci-tunnel-server", "ci-tunnel-agent"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if !arguments.no_build {
        build()?;
    }
    let begin = Instant::now();
    let environment = environment::describe(&affinity::pin(arguments.processors)?);
    println!("{environment:#}");
    let plan = plan(&arguments)?;
    let peers = describe(&plan);
    println!("{:#}", serde_json::to_value(&peers)?);
    let mut report = Report::default();
    // What was measured before an error is told all the same.
    let outcome = tokio::select! {
        measured = measure(&arguments.workloads, &plan, &mut report) => measured,
        // An error instead of an end: so all that was started ends, too.
        signal = stopped() => signal.and_then(|signal| bail!("stopped by {signal}")),
    };
    report.print();
    let (load, took) = (environment::load(), begin.elapsed().as_secs());
    println!("took {took} s; load average at the end: {load}");
    let (figures, lost) = report.into_parts();
    let run = Run {
        time: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
        environment,
        peers,
        figures,
        lost,
    };
    println!("written: {}", write(&run)?.display());
    outcome?;
    let failures = run.lost.iter().filter(|lost| lost.is_failure()).count();
    ensure!(
        failures == 0,
        "{failures} measurements failed: see LOST above"
    );
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

/// All workloads if none is named.
async fn measure(named: &[Workload], plan: &Plan, report: &mut Report) -> Result<()> {
    let wanted = match named {
        [] => Workload::value_variants(),
        _ => named,
    };
    for workload in wanted {
        let begin = Instant::now();
        eprintln!("{workload:?}, load average {}", environment::load());
        workload
            .run(plan, report)
            .await
            .with_context(|| format!("{workload:?}"))?;
        let took = Duration::from_secs(begin.elapsed().as_secs());
        eprintln!("{workload:?} took {took:?}");
    }
    Ok(())
}

/// Peers that are not built are left out, which is said; those that were named must be there.
fn plan(arguments: &Arguments) -> Result<Plan> {
    let programs = Programs::find()?;
    let peers = match &arguments.peers {
        _ if arguments.no_peers => Vec::new(),
        Some(named) => named.clone(),
        None => {
            let (built, missing): (Vec<Peer>, Vec<Peer>) = Peer::value_variants()
                .iter()
                .partition(|peer| programs.of(peer.project()).is_some());
            for peer in missing {
                eprintln!(
                    "NOT MEASURED: {} is not built: `make bench-peers`",
                    peer.name()
                );
            }
            built
        }
    };
    Ok(Plan {
        length: arguments.length,
        only: arguments.only.clone(),
        peers,
        programs,
    })
}

async fn stopped() -> Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    }
}

fn describe(plan: &Plan) -> Vec<Described> {
    let known = Peer::value_variants().iter();
    let described = known.map(|peer| Described {
        name: peer.name().to_owned(),
        version: plan
            .programs
            .of(peer.project())
            .map(|program| program.version.clone()),
        carrier: peer.carrier().to_owned(),
        less: peer.less().to_owned(),
    });
    described.collect()
}

/// The figures, and a page of them.
fn write(run: &Run) -> Result<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    std::fs::create_dir_all(&directory)?;
    let path = directory.join(format!("{}.json", run.time));
    run.write(&path)?;
    std::fs::write(path.with_extension("html"), Page::new(run.clone())?.html())?;
    Ok(path)
}
