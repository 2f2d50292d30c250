//! W9: a new connection for each request, full TLS handshake included, as each kubectl makes one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use http::Method;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::{Ask, Http, Target};
use crate::payload::Payload;
use crate::plan::{Plan, Times};
use crate::report::Report;
use crate::targets::Targets;
use crate::usage::Cpu;

/// What one measurement saw.
struct Sample {
    latencies: Histogram<u64>,
    failures: u64,
    elapsed: Duration,
    cpu: Cpu,
}

/// How many begin at the same moment.
const CASES: [(&str, usize); 2] = [("at1", 1), ("at40", 40)];
const NAME: &str = "fresh";
/// A request that takes longer, with its connection, is a failure.
const DEADLINE: Duration = Duration::from_secs(10);

/// Each size of burst over each target in turn.
pub async fn bench(plan: &Plan, report: &mut Report) -> Result<()> {
    let targets = Targets::start(plan).await?;
    for _ in plan.rounds() {
        // One at a time says little that the connections kept by W1 do not.
        let skipped = plan.pick(1, 0);
        let cases = CASES.into_iter().skip(skipped);
        for (case, at_once) in cases.filter(|(case, _)| plan.wants(case)) {
            let mut direct = None;
            for target in targets.in_turn() {
                let sample = run(&target, at_once, plan.times()).await;
                let Some(sample) = report.got(NAME, case, target.name, sample)? else {
                    continue;
                };
                record(case, &target, &sample, report);
                match &direct {
                    None => direct = Some(sample),
                    Some(direct) => compare(case, &target, &sample, direct, report),
                }
            }
        }
    }
    Ok(())
}

fn record(case: &str, target: &Target, sample: &Sample, report: &mut Report) {
    let mut row = report.row(NAME, case, target.name);
    row.add("rate", sample.rate(), "req/s");
    for (quantile, value) in [("p50", 0.5), ("p99", 0.99)] {
        row.add(quantile, sample.quantile(value), "ms");
    }
    row.count_failures(sample.failures);
    for (role, cpu) in &sample.cpu.processes {
        row.add(&format!("{role}_cpu"), sample.per_10k(*cpu), "s/10k");
    }
}

fn compare(case: &str, target: &Target, sample: &Sample, direct: &Sample, report: &mut Report) {
    let mut row = report.row(NAME, case, target.name);
    row.add("cpu", sample.per_10k(sample.cpu.between()), "s/10k");
    for (ratio, value) in [("p50_ratio", 0.5), ("p99_ratio", 0.99)] {
        let of_direct = sample.quantile(value) / direct.quantile(value);
        row.add(ratio, of_direct, "of_direct");
    }
}

/// One burst after the other; the first of them is for the caches of all programs.
async fn run(target: &Arc<Target>, at_once: usize, times: Times) -> Result<Sample> {
    let ask = target.ask(Http::Two, Method::GET, "/small")?;
    burst(target, &ask, at_once).await?;
    let mut latencies = Histogram::new_with_max(20_000_000_000, 3)?;
    let mut failures = 0;
    let (before, begin) = (Cpu::now(target)?, Instant::now());
    while begin.elapsed() < times.measure && failures == 0 {
        for took in burst(target, &ask, at_once).await? {
            match took {
                Some(took) => {
                    latencies.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
                }
                None => failures += 1,
            }
        }
    }
    Ok(Sample {
        latencies,
        failures,
        elapsed: begin.elapsed(),
        cpu: Cpu::now(target)?.since(&before),
    })
}

/// How long each took; `None` for those that failed.
async fn burst(target: &Arc<Target>, ask: &Ask, at_once: usize) -> Result<Vec<Option<Duration>>> {
    let mut users = JoinSet::new();
    let begin = Instant::now();
    for _ in 0..at_once {
        let (target, ask) = (Arc::clone(target), ask.clone());
        users.spawn(async move {
            let good = matches!(timeout(DEADLINE, get(&target, &ask)).await, Ok(Ok(1024)));
            good.then(|| begin.elapsed())
        });
    }
    let mut all = Vec::with_capacity(at_once);
    while let Some(took) = users.join_next().await {
        all.push(took?);
    }
    Ok(all)
}

async fn get(target: &Target, ask: &Ask) -> Result<u64> {
    let mut connection = target.connect(Http::Two).await?;
    connection.exchange(target, ask, Payload::empty()).await
}

impl Sample {
    fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    fn quantile(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1e6
    }

    /// Seconds for 10,000 requests.
    fn per_10k(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 10_000.0 / self.latencies.len().max(1) as f64
    }
}
