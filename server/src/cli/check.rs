//! `check`: says of each thing that the server needs whether it holds.

mod providers;

use std::fs::DirBuilder;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::DirBuilderExt as _;

use anyhow::Context as _;
use ci_tunnel::runtime::causes::with_causes;

use super::state_dir;
use crate::app;
use crate::config::{Config, Error};
use crate::configrepo::{self, Outcome};
use crate::metrics::Metrics;
use crate::store::Store;

/// Prints a line a thing; true when everything holds.
///
/// # Errors
/// The output fails.
pub async fn all(config: Result<Config, Error>, out: &mut impl Write) -> io::Result<bool> {
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            let mut report = Report { out, healthy: true };
            report.failed("configuration", &error)?;
            return Ok(false);
        }
    };
    let mut report = Report { out, healthy: true };
    report.ok("configuration", "valid")?;
    if let Err(error) = state_dir::check_owner(&config.state_dir) {
        report.failed("state_dir", &error)?;
        return Ok(false);
    }
    names(&config, &mut report)?;
    if state_dir::has_store(&config.state_dir) {
        store(&config, &mut report).await?;
        certificate(&config, &mut report)?;
        audit(&config, &mut report)?;
    } else {
        first_start(&config, &mut report)?;
    }
    repositories(&config, &mut report).await?;
    providers::all(&config, &mut report).await?;
    ports(&config, &mut report)?;
    file_descriptors(&config, &mut report)?;
    Ok(report.healthy)
}

struct Report<'a, W> {
    out: &'a mut W,
    healthy: bool,
}

impl<W: Write> Report<'_, W> {
    fn ok(&mut self, what: &str, detail: impl std::fmt::Display) -> io::Result<()> {
        writeln!(self.out, "ok      {what}: {detail}")
    }

    fn warn(&mut self, what: &str, detail: impl std::fmt::Display) -> io::Result<()> {
        writeln!(self.out, "warning {what}: {detail}")
    }

    fn failed(&mut self, what: &str, error: &(dyn std::error::Error + 'static)) -> io::Result<()> {
        self.healthy = false;
        writeln!(self.out, "FAILED  {what}: {}", with_causes(error))
    }
}

/// Without a URL everybody is sent to this machine by a name that is theirs as well.
fn names<W: Write>(config: &Config, report: &mut Report<'_, W>) -> io::Result<()> {
    if config.kubernetes_api.url.is_some() {
        return Ok(());
    }
    let told =
        "is not set: KUBECONFIGs will name localhost, and so will the command that starts an agent";
    report.warn("kubernetes_api.url", told)
}

/// A check makes nothing that the server would find when it starts as another user.
fn first_start<W: Write>(config: &Config, report: &mut Report<'_, W>) -> io::Result<()> {
    let there = format!(
        "{} has none yet: the server makes it, its certificate and its audit log when it first starts",
        config.state_dir.display()
    );
    report.warn("store", there)?;
    if config.kubernetes_api.tls.is_some() {
        certificate(config, report)?;
    }
    if config.audit.output.is_some() {
        audit(config, report)?;
    }
    Ok(())
}

async fn store<W: Write>(config: &Config, report: &mut Report<'_, W>) -> io::Result<()> {
    let store = match Store::open(&config.state_dir).await {
        Ok(store) => store,
        Err(error) => return report.failed("store", &error),
    };
    match store.agents().await {
        Ok(agents) => report.ok(
            "store",
            format!("{}, {} agents", config.state_dir.display(), agents.len()),
        ),
        Err(error) => report.failed("store", &error),
    }
}

fn certificate<W: Write>(config: &Config, report: &mut Report<'_, W>) -> io::Result<()> {
    match app::identity(config) {
        Ok(identity) => report.ok("certificate", format!("agents pin {}", identity.pin())),
        Err(error) => report.failed("certificate", error.as_ref()),
    }
}

async fn repositories<W: Write>(config: &Config, report: &mut Report<'_, W>) -> io::Result<()> {
    if config.config_repositories.repositories.is_empty() {
        return report.warn(
            "configuration repositories",
            "none: jobs can use agents of their own project only",
        );
    }
    let (snapshot, reads) = match read(config).await {
        Ok(read) => read,
        Err(error) => return report.failed("configuration repositories", error.as_ref()),
    };
    for read in reads {
        match read.outcome {
            Outcome::Well => report.ok(&read.url, "can be read")?,
            Outcome::NoProject => {
                report.warn(&read.url, "no agent's project is looked for there")?
            }
            Outcome::Failed(problem) => {
                report.healthy = false;
                writeln!(report.out, "FAILED  {}: {problem}", read.url)?;
            }
        }
    }
    for unread in snapshot.unread() {
        report.healthy = false;
        let (directory, problem) = (unread.directory.display(), &unread.problem);
        writeln!(
            report.out,
            "FAILED  {directory}: {problem}: nobody has access to agents whose files are there"
        )?;
    }
    let mut files: Vec<_> = snapshot.iter().collect();
    files.sort_unstable_by_key(|rules| &rules.file);
    for rules in files {
        let name = rules.file.display().to_string();
        match &rules.problem {
            Some(problem) => {
                report.healthy = false;
                writeln!(report.out, "FAILED  {name}: {problem}")?;
            }
            None => report.ok(&name, format!("revision {}", rules.revision))?,
        }
        for warning in rules.rules.warnings() {
            report.warn(&name, warning)?;
        }
    }
    Ok(())
}

/// Everything is read anew, in a directory of its own: the server may be running.
async fn read(config: &Config) -> anyhow::Result<(configrepo::Snapshot, Vec<configrepo::Read>)> {
    let (store, scratch) = if state_dir::has_store(&config.state_dir) {
        let store = Store::open(&config.state_dir).await?;
        (store, config.state_dir.clone())
    } else {
        (Store::in_memory().await?, std::env::temp_dir())
    };
    let (directory, _changes) = app::follow::agents(&store).await?;
    let agents = directory.changes().borrow().clone();
    let scratch = scratch.join(format!("ci-tunnel-check-{}", std::process::id()));
    DirBuilder::new()
        .mode(0o700)
        .create(&scratch)
        .with_context(|| scratch.display().to_string())?;
    let place = configrepo::Place {
        state_dir: scratch.clone(),
        metrics: Metrics::unread(),
    };
    let checked = configrepo::check(&config.config_repositories, &place, &agents).await;
    let _ = std::fs::remove_dir_all(&scratch);
    Ok(checked?)
}

/// A port in use is as it must be where the server runs already; which of the two it is, a person must say.
fn ports<W: Write>(config: &Config, report: &mut Report<'_, W>) -> io::Result<()> {
    let tcp = |address: SocketAddr| TcpListener::bind(address).map(drop);
    let udp = |address: SocketAddr| UdpSocket::bind(address).map(drop);
    for (what, address, bound) in [
        (
            "kubernetes_api.listen (TCP)",
            config.kubernetes_api.listen,
            tcp(config.kubernetes_api.listen),
        ),
        (
            "agents.listen (UDP)",
            config.agents.listen,
            udp(config.agents.listen),
        ),
        (
            "agents.listen (TCP)",
            config.agents.listen,
            tcp(config.agents.listen),
        ),
        (
            "ops.listen (TCP)",
            config.ops.listen,
            tcp(config.ops.listen),
        ),
    ] {
        match bound {
            Ok(()) => report.ok(what, format!("{address} is free"))?,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                report.warn(
                    what,
                    format!("{address} is in use; that is right if the server runs already"),
                )?;
            }
            Err(error) => report.failed(what, &error)?,
        }
    }
    Ok(())
}

fn audit<W: Write>(config: &Config, report: &mut Report<'_, W>) -> io::Result<()> {
    match crate::audit::check(&config.audit, &config.state_dir) {
        Ok(output) => report.ok("audit", output),
        Err(error) => report.failed("audit", &error),
    }
}

/// Each client connection takes one, and some are needed for everything else.
fn file_descriptors<W: Write>(config: &Config, report: &mut Report<'_, W>) -> io::Result<()> {
    let wanted = config.kubernetes_api.max_connections + 100;
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok());
    match soft {
        Some(soft) if soft < wanted => report.warn(
            "file descriptors",
            format!("{soft} allowed, kubernetes_api.max_connections needs {wanted}: raise `ulimit -n` or lower the setting"),
        ),
        Some(soft) => report.ok("file descriptors", soft),
        None => report.warn("file descriptors", "the limit is not known on this system"),
    }
}
