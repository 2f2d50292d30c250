//! W8: requests that are broken off, and dials that the API server's host refuses: what stays behind of each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ci_tunnel_tests::tunnel::{Tunnel as Programs, metric_at};
use http::Method;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::client::{Connection, Http, Target};
use crate::origin::Origin;
use crate::payload::Payload;
use crate::peers::free_ports;
use crate::plan::Plan;
use crate::report::Report;
use crate::tunnel::{AGENT, RULES, SERVER_YAML, Tunnel};
use crate::usage::Pid;

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// Half of the requests are broken off as soon as they are sent, half once their answer has begun.
    Abort,
    /// The API server's host refuses connections.
    Refused,
}

/// What a process held when so many requests were over.
#[derive(Debug, Clone, Copy)]
struct Held {
    done: f64,
    /// Resident memory (KiB), descriptors, tasks.
    values: [f64; 3],
}

const NAME: &str = "churn";
const MEASURES: [(&str, &str); 3] = [
    ("memory_slope", "KiB/1000"),
    ("descriptors_slope", "1/1000"),
    ("tasks_slope", "1/1000"),
];
const CLIENTS: u64 = 8;
const SAMPLES: u64 = 40;
const DEADLINE: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_micros(300);

pub async fn bench(plan: &Plan, report: &mut Report) -> Result<()> {
    let deeds = [
        ("abort", Deed::Abort, plan.pick(8_000, 100_000)),
        ("refused_dials", Deed::Refused, plan.pick(1_000, 10_000)),
    ];
    for (case, deed, count) in deeds {
        if !plan.wants(case) {
            continue;
        }
        let [server, agent] = run(deed, count).await.with_context(|| case.to_owned())?;
        let mut row = report.row(NAME, case, "tunnel");
        for (role, samples) in [("server", server), ("agent", agent)] {
            // The first half fills what is kept on purpose: pools, caches, the allocator's own.
            let last = &samples[samples.len() / 2..];
            for (at, (measure, unit)) in MEASURES.into_iter().enumerate() {
                let points = last
                    .iter()
                    .map(|held| (held.done / 1000.0, held.values[at]));
                row.add(&format!("{role}_{measure}"), slope(points), unit);
            }
            let last = last.last().context("there are samples")?;
            row.add(&format!("{role}_rss"), last.values[0] / 1024.0, "MiB");
            row.add(&format!("{role}_descriptors"), last.values[1], "open");
            row.add(&format!("{role}_tasks"), last.values[2], "alive");
        }
    }
    Ok(())
}

async fn run(deed: Deed, count: u64) -> Result<[Vec<Held>; 2]> {
    let origin = Origin::start().await?;
    let [agent_ops] = free_ports::<1>()?;
    let agent_ops = SocketAddr::from(([127, 0, 0, 1], agent_ops));
    let programs = Programs::builder()
        .server_yaml(SERVER_YAML)
        .agent_yaml(&format!("ops: {agent_ops}"))
        .agent(AGENT, RULES)
        .kubeconfig(&origin.kubeconfig()?)
        .start()
        .await?;
    let tunnel = Tunnel::over("tunnel", programs, &origin).await?;
    if deed == Deed::Refused {
        drop(origin);
    }
    let done = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    // Kept until the last sample, which they would otherwise change by ending.
    let mut connections = Vec::new();
    for number in 0..CLIENTS {
        let (target, done) = (Arc::clone(&tunnel.target), Arc::clone(&done));
        clients.spawn(client(deed, target, number, count / CLIENTS, done));
    }
    let watched = [
        (
            tunnel.server()?,
            tunnel.programs.ops_addr(),
            "ci_tunnel_server_tasks",
        ),
        (tunnel.agent()?, agent_ops, "ci_tunnel_agent_tasks"),
    ];
    let mut samples = [Vec::new(), Vec::new()];
    for number in 1..=SAMPLES {
        while done.load(Ordering::Relaxed) < count / SAMPLES * number && !clients.is_empty() {
            sleep(Duration::from_millis(5)).await;
            if let Some(ended) = clients.try_join_next() {
                connections.push(ended??);
            }
        }
        for ((pid, ops, series), samples) in watched.into_iter().zip(&mut samples) {
            samples.push(Held::now(pid, ops, series, done.load(Ordering::Relaxed)).await?);
        }
    }
    Ok(samples)
}

async fn client(
    deed: Deed,
    target: Arc<Target>,
    number: u64,
    count: u64,
    done: Arc<AtomicU64>,
) -> Result<Connection> {
    let mut connection = target.connect(Http::Two).await?;
    for request in 0..count {
        match deed {
            Deed::Abort => {
                abort(
                    &target,
                    &mut connection,
                    (number + request).is_multiple_of(2),
                )
                .await?
            }
            Deed::Refused => {
                let ask = target.ask(Http::Two, Method::GET, "/small")?;
                let sent = connection.send(&target, &ask, Payload::empty());
                let answer = timeout(DEADLINE, sent).await.context("no answer")?;
                ensure!(answer.is_err(), "an API server answers that is not there");
            }
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(connection)
}

/// Dropping the future or the response resets the stream.
async fn abort(target: &Target, connection: &mut Connection, at_once: bool) -> Result<()> {
    let ask = target.ask(Http::Two, Method::GET, "/watch")?;
    let sent = connection.send(target, &ask, Payload::empty());
    if at_once {
        // Long enough for the request to leave, mostly too short for the answer.
        if let Ok(answer) = timeout(SOON, sent).await {
            drop(answer?);
        }
    } else {
        drop(timeout(DEADLINE, sent).await.context("no answer")??);
    }
    Ok(())
}

impl Held {
    async fn now(pid: Pid, ops: SocketAddr, series: &str, done: u64) -> Result<Self> {
        let memory = pid.memory()?.now as f64 / 1024.0;
        let descriptors = pid.descriptors()? as f64;
        let tasks = metric_at(ops, series).await?;
        Ok(Self {
            done: done as f64,
            values: [memory, descriptors, tasks],
        })
    }
}

/// By least squares.
fn slope(points: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let count = points.clone().count().max(1) as f64;
    let sum = |of: fn((f64, f64)) -> f64| points.clone().map(of).sum::<f64>();
    let (mean_x, mean_y) = (sum(|(x, _)| x) / count, sum(|(_, y)| y) / count);
    let (mut above, mut below) = (0.0, 0.0);
    for (x, y) in points {
        above += (x - mean_x) * (y - mean_y);
        below += (x - mean_x) * (x - mean_x);
    }
    if below == 0.0 { 0.0 } else { above / below }
}

#[cfg(test)]
mod tests {
    #[test]
    fn slopes_of_lines_and_of_nothing() {
        let line = [(1.0, 5.0), (2.0, 7.0), (3.0, 9.0)];
        assert_eq!(super::slope(line.into_iter()), 2.0);
        assert_eq!(super::slope([(1.0, 5.0)].into_iter()), 0.0);
        assert_eq!(super::slope([].into_iter()), 0.0);
    }
}
