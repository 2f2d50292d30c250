//! W3: small GETs beside clients that have stopped reading a large answer.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use http::Method;
use http::Response;
use hyper::body::Incoming;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::client::{Connection, Http, Target};
use crate::origin::Origin;
use crate::payload::Payload;
use crate::plan::Plan;
use crate::report::Report;
use crate::small::{self, Load};
use crate::tunnel::Tunnel;
use crate::usage::{Cpu, Pid, settle};

/// A client that reads no further.
#[derive(Debug)]
pub struct Stalled {
    _connection: Connection,
    _response: Response<Incoming>,
}

pub const NAME: &str = "stalled";
/// Small GETs meanwhile.
pub const PROBES: Load = Load {
    name: "stalled",
    http: Http::One,
    connections: 4,
    streams: 1,
};
/// One at a time, where there is one place left.
const LAST: Load = Load {
    connections: 1,
    ..PROBES
};
/// `quic.max_streams` less one: all places but the last.
const ALL_BUT_ONE: usize = 4095;
/// Clients that begin at a time.
const AT_ONCE: usize = 32;
const PAUSE: Duration = Duration::from_millis(500);
/// In which memory must be given back.
const RECOVERY: Duration = Duration::from_secs(60);

/// The p99 of small GETs that nobody stalls beside.
#[derive(Debug, Default)]
struct Quiet {
    four: Option<f64>,
    one: Option<f64>,
}

/// The first number of stalled readers is 0: what the others are compared with.
pub async fn bench(plan: &Plan, report: &mut Report) -> Result<()> {
    let counts: &[usize] = plan.pick(
        &[0, 64, 1000, ALL_BUT_ONE],
        &[0, 1, 4, 64, 1000, ALL_BUT_ONE],
    );
    let mut quiet = Quiet::default();
    for &count in counts {
        beside(count, plan, &mut quiet, report).await?;
    }
    Ok(())
}

async fn beside(count: usize, plan: &Plan, quiet: &mut Quiet, report: &mut Report) -> Result<()> {
    // Memory that an earlier count left behind must not be counted for the next.
    let origin = Origin::start().await?;
    let tunnel = Tunnel::start(&origin).await?;
    let target = &tunnel.target;
    // What every process has after its first requests is no part of what stalled readers cost.
    small::run(target, PROBES, plan.times()).await?;
    let start = memory(target)?;
    let stalled = stall_many(target, count).await?;
    settle(|| Ok(Cpu::now(target)?.total())).await?;
    if count == 0 {
        let sample = small::run(target, LAST, plan.times()).await?;
        quiet.one = Some(sample.quantile(0.99));
    }
    let (load, quiet) = match count {
        ALL_BUT_ONE => (LAST, &mut quiet.one),
        _ => (PROBES, &mut quiet.four),
    };
    let sample = small::run(target, load, plan.times()).await?;
    let p99 = sample.quantile(0.99);
    let mut row = report.row(NAME, &format!("n{count}"), target.name);
    row.add("p50", sample.quantile(0.5), "ms");
    row.add("p99", p99, "ms");
    row.count_failures(sample.failures);
    let ratio = p99 / *quiet.get_or_insert(p99);
    row.add("p99_ratio", ratio, "of_none_stalled");
    for (role, now) in memory(target)? {
        row.add(&format!("{role}_rss"), now, "MiB");
    }
    row.add("kernel_tcp", kernel_tcp()?, "MiB");
    drop(stalled);
    let after = recover(target, &start).await?;
    for ((role, now), (_, start)) in after.iter().zip(&start) {
        row.add(&format!("{role}_rss_after"), *now, "MiB");
        row.add(&format!("{role}_after_ratio"), now / start, "of_start");
    }
    Ok(())
}

/// Resident memory of each process, in MiB.
fn memory(target: &Target) -> Result<Vec<(&'static str, f64)>> {
    let of = |(role, pid): &(&'static str, Pid)| Ok((*role, pid.memory()?.now_mib()));
    target.processes.iter().map(of).collect()
}

/// What the kernel holds for all TCP connections of the machine, in MiB: the client's and the origin's ends too.
fn kernel_tcp() -> Result<f64> {
    const PAGE: f64 = 4096.0;
    let text = std::fs::read_to_string("/proc/net/sockstat")?;
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"));
    let pages = line.and_then(|line| line.split_whitespace().last());
    let pages: f64 = pages
        .context("TCP's memory in /proc/net/sockstat")?
        .parse()?;
    Ok(pages * PAGE / f64::from(1 << 20))
}

/// Waits until no process has twice what it had at the start, or the time is up; what each has then.
async fn recover(
    target: &Target,
    start: &[(&'static str, f64)],
) -> Result<Vec<(&'static str, f64)>> {
    let end = Instant::now() + RECOVERY;
    loop {
        let now = memory(target)?;
        let mut both = now.iter().zip(start);
        if Instant::now() >= end || both.all(|((_, now), (_, start))| *now < 2.0 * start) {
            return Ok(now);
        }
        sleep(PAUSE).await;
    }
}

async fn stall_many(target: &Arc<Target>, count: usize) -> Result<Vec<Stalled>> {
    let mut stalled = Vec::new();
    let mut beginning = JoinSet::new();
    for _ in 0..count {
        if beginning.len() == AT_ONCE
            && let Some(begun) = beginning.join_next().await
        {
            stalled.push(begun??);
        }
        let target = Arc::clone(target);
        beginning.spawn(async move { stall(&target).await });
    }
    while let Some(begun) = beginning.join_next().await {
        stalled.push(begun??);
    }
    Ok(stalled)
}

pub async fn stall(target: &Arc<Target>) -> Result<Stalled> {
    let ask = target.ask(Http::One, Method::GET, "/bytes?n=1073741824")?;
    let mut connection = target.connect(Http::One).await?;
    let response = connection.send(target, &ask, Payload::empty()).await?;
    Ok(Stalled {
        _connection: connection,
        _response: response,
    })
}
