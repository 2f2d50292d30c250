//! W1: small GETs over connections that are kept.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use http::Method;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use crate::client::{Ask, Connection, Http, Target};
use crate::payload::Payload;
use crate::report::Report;
use crate::tunnel::{Pids, Tunnel};
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

/// How long one measurement takes.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub warm_up: Duration,
    pub measure: Duration,
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

/// A request that takes longer is a failure.
const DEADLINE: Duration = Duration::from_secs(10);

/// Each load whose name contains `only`, direct and through the tunnel right after it.
pub async fn bench(tunnel: &Tunnel, times: Times, only: &str, report: &mut Report) -> Result<()> {
    for load in LOADS.iter().filter(|load| load.name.contains(only)) {
        let direct = run(&tunnel.direct, *load, times, tunnel.pids).await?;
        let through = run(&tunnel.tunnel, *load, times, tunnel.pids).await?;
        record(load.name, &direct, &through, report);
    }
    Ok(())
}

fn record(name: &str, direct: &Sample, through: &Sample, report: &mut Report) {
    for (way, sample) in [("direct", direct), ("tunnel", through)] {
        report.add(&format!("{name}_{way}_rate"), sample.rate(), "req/s");
        report.add(&format!("{name}_{way}_mean"), sample.mean(), "ms");
        for (quantile, value) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
            let label = format!("{name}_{way}_{quantile}");
            report.add(&label, sample.quantile(value), "ms");
        }
        report.add(
            &format!("{name}_{way}_failures"),
            sample.failures as f64,
            "requests",
        );
    }
    report.add(
        &format!("{name}_ratio"),
        through.rate() / direct.rate(),
        "of_direct",
    );
    report.add(
        &format!("{name}_added_mean"),
        through.mean() - direct.mean(),
        "ms",
    );
    let p99 = through.quantile(0.99) / direct.quantile(0.99);
    report.add(&format!("{name}_p99_ratio"), p99, "of_direct");
    // On a busy machine this says more than the ratio of rates: both are limited by the processor alone.
    report.add(
        &format!("{name}_cpu_ratio"),
        direct.per_10k(direct.cpu.total()) / through.per_10k(through.cpu.total()),
        "of_direct",
    );
    for (process, cpu) in [
        ("server_cpu", through.cpu.server),
        ("agent_cpu", through.cpu.agent),
        ("cpu", through.cpu.tunnel()),
    ] {
        let label = format!("{name}_{process}");
        report.add(&label, through.per_10k(cpu), "s/10k");
    }
}

/// Connects, warms up, measures.
pub async fn run(target: &Arc<Target>, load: Load, times: Times, pids: Pids) -> Result<Sample> {
    let connections = connect(target, load).await?;
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
    let before = Cpu::now(pids)?;
    sleep_until(end.into()).await;
    let cpu = Cpu::now(pids)?.since(before);
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
