//! W1: small GETs over connections that are kept.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use http::Method;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use crate::client::{Ask, Connection, Http, Target};
use crate::payload::Payload;
use crate::plan::{Plan, Times};
use crate::report::Report;
use crate::targets::Targets;
use crate::usage::Cpu;

/// How many send at a time.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub name: &'static str,
    pub http: Http,
    pub connections: usize,
    /// Of each connection.
    pub streams: usize,
}

/// What one measurement saw.
#[derive(Debug)]
pub struct Sample {
    pub latencies: Histogram<u64>,
    pub failures: u64,
    pub elapsed: Duration,
    pub cpu: Cpu,
}

pub const LOADS: [Load; 4] = [
    Load {
        name: "h1_c1",
        http: Http::One,
        connections: 1,
        streams: 1,
    },
    Load {
        name: "h1_c32",
        http: Http::One,
        connections: 32,
        streams: 1,
    },
    Load {
        name: "h1_c256",
        http: Http::One,
        connections: 256,
        streams: 1,
    },
    Load {
        name: "h2_c32_m10",
        http: Http::Two,
        connections: 32,
        streams: 10,
    },
];

const NAME: &str = "small";
/// A request that takes longer is a failure.
const DEADLINE: Duration = Duration::from_secs(10);

/// Each load over each target in turn, and the memory of all processes after that.
pub async fn bench(plan: &Plan, report: &mut Report) -> Result<()> {
    let targets = Targets::start(plan).await?;
    for _ in plan.rounds() {
        for load in LOADS.iter().filter(|load| plan.wants(load.name)) {
            let mut direct = None;
            for target in targets.in_turn() {
                let sample = run(&target, *load, plan.times()).await;
                let Some(sample) = report.got(NAME, load.name, target.name, sample)? else {
                    continue;
                };
                record(load.name, &target, &sample, report);
                match &direct {
                    None => direct = Some(sample),
                    Some(direct) => compare(load.name, &target, &sample, direct, report),
                }
            }
        }
    }
    targets.memory(NAME, report)
}

fn record(name: &str, target: &Target, sample: &Sample, report: &mut Report) {
    let mut row = report.row(NAME, name, target.name);
    row.add("rate", sample.rate(), "req/s");
    row.add("mean", sample.mean(), "ms");
    for (quantile, value) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
        row.add(quantile, sample.quantile(value), "ms");
    }
    row.count_failures(sample.failures);
    for (role, cpu) in &sample.cpu.processes {
        row.add(&format!("{role}_cpu"), sample.per_10k(*cpu), "s/10k");
    }
}

fn compare(name: &str, target: &Target, sample: &Sample, direct: &Sample, report: &mut Report) {
    let mut row = report.row(NAME, name, target.name);
    row.add("cpu", sample.per_10k(sample.cpu.between()), "s/10k");
    row.add("ratio", sample.rate() / direct.rate(), "of_direct");
    row.add("added_mean", sample.mean() - direct.mean(), "ms");
    let p99 = sample.quantile(0.99) / direct.quantile(0.99);
    row.add("p99_ratio", p99, "of_direct");
    // On a busy machine this says more than the ratio of rates: both are limited by the processor alone.
    let cpu = direct.per_10k(direct.cpu.total()) / sample.per_10k(sample.cpu.total());
    row.add("cpu_ratio", cpu, "of_direct");
}

/// Connects, warms up, measures.
pub async fn run(target: &Arc<Target>, load: Load, times: Times) -> Result<Sample> {
    let connections = timeout(DEADLINE, connect(target, load)).await;
    let connections = connections.context("connecting takes too long")??;
    let begin = Instant::now() + times.warm_up;
    let end = begin + times.measure;
    let meter = Arc::new(Mutex::new(Meter {
        latencies: Histogram::new_with_max(20_000_000_000, 3)?,
        failures: 0,
        begin,
        end,
    }));
    let ask = target.ask(load.http, Method::GET, "/small")?;
    let mut users = JoinSet::new();
    for connection in connections {
        let (target, ask) = (Arc::clone(target), ask.clone());
        users.spawn(user(target, connection, ask, Arc::clone(&meter)));
    }
    sleep_until(begin.into()).await;
    let before = Cpu::now(target)?;
    sleep_until(end.into()).await;
    let cpu = Cpu::now(target)?.since(&before);
    while let Some(ended) = users.join_next().await {
        ended?;
    }
    let mut meter = meter.lock().unwrap_or_else(|error| error.into_inner());
    Ok(Sample {
        latencies: meter.latencies.clone(),
        failures: std::mem::take(&mut meter.failures),
        elapsed: times.measure,
        cpu,
    })
}

/// A connection for each user, or its part of one.
async fn connect(target: &Target, load: Load) -> Result<Vec<Connection>> {
    let mut connections = Vec::new();
    for _ in 0..load.connections {
        let connection = target.connect(load.http).await?;
        connections.extend((1..load.streams).filter_map(|_| connection.share()));
        connections.push(connection);
    }
    Ok(connections)
}

struct Meter {
    latencies: Histogram<u64>,
    failures: u64,
    begin: Instant,
    end: Instant,
}

impl Meter {
    fn add(&mut self, started: Instant, ended: Instant, good: bool) {
        if !good {
            self.failures += 1;
        } else if ended >= self.begin && ended < self.end {
            let nanoseconds = (ended - started).as_nanos();
            self.latencies
                .saturating_record(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        }
    }
}

/// One request after the other until the end; gives up after a failure, since the connection may be gone.
async fn user(target: Arc<Target>, mut connection: Connection, ask: Ask, meter: Arc<Mutex<Meter>>) {
    loop {
        let started = Instant::now();
        let answer = connection.exchange(&target, &ask, Payload::empty());
        let good = matches!(timeout(DEADLINE, answer).await, Ok(Ok(1024)));
        let ended = Instant::now();
        let mut meter = meter.lock().unwrap_or_else(|error| error.into_inner());
        meter.add(started, ended, good);
        if !good || ended >= meter.end {
            return;
        }
    }
}

impl Sample {
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// Seconds for 10,000 requests.
    fn per_10k(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 10_000.0 / self.latencies.len().max(1) as f64
    }

    pub fn mean(&self) -> f64 {
        self.latencies.mean() / 1e6
    }

    pub fn quantile(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1e6
    }
}
