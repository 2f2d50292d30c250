//! W2: 1 GiB (an eighth of it in quick runs) down and up, in one stream and in eight.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use http::Method;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::{Connection, Http, Target};
use crate::payload::Payload;
use crate::plan::Plan;
use crate::report::Report;
use crate::targets::Targets;
use crate::usage::Cpu;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Down,
    Up,
}

struct Sample {
    size: u64,
    elapsed: Duration,
    cpu: Cpu,
}

const CASES: [(&str, Direction, u64); 4] = [
    ("down_x1", Direction::Down, 1),
    ("down_x8", Direction::Down, 8),
    ("up_x1", Direction::Up, 1),
    ("up_x8", Direction::Up, 8),
];
const GIB: u64 = 1 << 30;
/// Of the next transfer that ends: 1 GiB at 17 MB/s.
const DEADLINE: Duration = Duration::from_secs(60);
const NAME: &str = "bulk";

/// Each transfer over each target in turn, and the memory of all processes after that.
pub async fn bench(plan: &Plan, report: &mut Report) -> Result<()> {
    let targets = Targets::start(plan).await?;
    let size = plan.pick(GIB / 8, GIB);
    for _ in plan.rounds() {
        let wanted = CASES.into_iter().filter(|(name, ..)| plan.wants(name));
        for (name, direction, streams) in wanted {
            let mut direct = None;
            for target in targets.in_turn() {
                let sample = run(&target, direction, streams, size).await;
                let Some(sample) = report.got(NAME, name, target.name, sample)? else {
                    continue;
                };
                record(name, &target, &sample, report);
                match &direct {
                    None => direct = Some(sample),
                    Some(direct) => compare(name, &target, &sample, direct, report),
                }
            }
        }
    }
    targets.memory(NAME, report)
}

fn record(name: &str, target: &Target, sample: &Sample, report: &mut Report) {
    let mut row = report.row(NAME, name, target.name);
    row.add("speed", sample.speed(), "MB/s");
    for (role, cpu) in &sample.cpu.processes {
        row.add(&format!("{role}_cpu"), sample.per_gib(*cpu), "s/GiB");
    }
}

fn compare(name: &str, target: &Target, sample: &Sample, direct: &Sample, report: &mut Report) {
    let mut row = report.row(NAME, name, target.name);
    row.add("cpu", sample.per_gib(sample.cpu.between()), "s/GiB");
    row.add("ratio", sample.speed() / direct.speed(), "of_direct");
    let cpu = direct.per_gib(direct.cpu.total()) / sample.per_gib(sample.cpu.total());
    row.add("cpu_ratio", cpu, "of_direct");
}

/// Moves `size` bytes in all, over one connection a stream; the connections are there before the clock runs.
async fn run(
    target: &Arc<Target>,
    direction: Direction,
    streams: u64,
    size: u64,
) -> Result<Sample> {
    let length = size / streams;
    let ask = match direction {
        Direction::Down => target.ask(Http::One, Method::GET, &format!("/bytes?n={length}"))?,
        Direction::Up => target.ask(Http::One, Method::POST, "/sink")?,
    };
    let connections = timeout(DEADLINE, connect(target, streams)).await;
    let connections = connections.context("connecting takes too long")??;
    let (before, begin) = (Cpu::now(target)?, Instant::now());
    let mut transfers = JoinSet::new();
    for mut connection in connections {
        let (target, ask) = (Arc::clone(target), ask.clone());
        transfers.spawn(async move {
            let body = match direction {
                Direction::Down => Payload::empty(),
                Direction::Up => Payload::repeated(length),
            };
            let received = connection.exchange(&target, &ask, body).await?;
            ensure!(
                direction == Direction::Up || received == length,
                "{received} bytes of {length}"
            );
            Ok(())
        });
    }
    while let Some(ended) = timeout(DEADLINE, transfers.join_next())
        .await
        .context("no transfer ends")?
    {
        ended??;
    }
    Ok(Sample {
        size,
        elapsed: begin.elapsed(),
        cpu: Cpu::now(target)?.since(&before),
    })
}

/// Connections that have carried a request already.
async fn connect(target: &Target, count: u64) -> Result<Vec<Connection>> {
    let warm_up = target.ask(Http::One, Method::GET, "/small")?;
    let mut connections = Vec::new();
    for _ in 0..count {
        let mut connection = target.connect(Http::One).await?;
        connection
            .exchange(target, &warm_up, Payload::empty())
            .await?;
        connections.push(connection);
    }
    Ok(connections)
}

impl Sample {
    fn speed(&self) -> f64 {
        self.size as f64 / 1e6 / self.elapsed.as_secs_f64()
    }

    fn per_gib(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * GIB as f64 / self.size as f64
    }
}
