//! W4: watches with an event a second, and exec sessions, while bulk downloads run.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use http::Method;
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::client::{Connection, Http, Target};
use crate::download::Downloads;
use crate::origin::live::age;
use crate::payload::Payload;
use crate::plan::{Plan, Times};
use crate::report::Report;
use crate::targets::Targets;

/// What was seen, in nanoseconds.
#[derive(Debug)]
struct Seen {
    echoes: Histogram<u64>,
    events: Histogram<u64>,
    /// MB/s of all downloads.
    bulk: f64,
}

/// What is counted while the clock runs.
#[derive(Debug)]
struct Meter {
    from: Instant,
    echoes: Histogram<u64>,
    events: Histogram<u64>,
}

const NAME: &str = "interactive";
/// Cases by the number of downloads; quick runs leave out the first.
const CASES: [(&str, usize); 2] = [("quiet", 0), ("beside_bulk", 4)];
const WATCHES: usize = 200;
/// Of a client, as client-go shares them.
const WATCHES_A_CONNECTION: usize = 50;
const ECHOES: usize = 4;
/// What is typed.
const ECHO: [u8; 64] = [b'e'; 64];
/// Between one answer and the next.
const PAUSE: Duration = Duration::from_millis(10);
/// Of one echo; and for all watches to have begun.
const DEADLINE: Duration = Duration::from_secs(20);

/// Each case over each target in turn.
pub async fn bench(plan: &Plan, report: &mut Report) -> Result<()> {
    let targets = Targets::start(plan).await?;
    for _ in 1..=plan.pick(1, *plan.rounds().end()) {
        let skipped = plan.pick(1, 0);
        let cases = CASES.into_iter().skip(skipped);
        for (case, downloads) in cases.filter(|(case, _)| plan.wants(case)) {
            for target in targets.in_turn() {
                let seen = run(&target, downloads, times(plan)).await;
                let Some(seen) = report.got(NAME, case, target.name, seen)? else {
                    continue;
                };
                let mut row = report.row(NAME, case, target.name);
                for (what, times) in [("echo", &seen.echoes), ("event", &seen.events)] {
                    for (quantile, value) in [("p50", 0.5), ("p99", 0.99)] {
                        let value = times.value_at_quantile(value) as f64 / 1e6;
                        row.add(&format!("{what}_{quantile}"), value, "ms");
                    }
                    row.add(&format!("{what}s"), times.len() as f64, "samples");
                }
                if downloads > 0 {
                    row.add("bulk", seen.bulk, "MB/s");
                }
            }
        }
    }
    Ok(())
}

fn times(plan: &Plan) -> Times {
    Times {
        warm_up: Duration::from_millis(plan.pick(500, 2000)),
        measure: Duration::from_millis(plan.pick(2000, 8000)),
    }
}

async fn run(target: &Arc<Target>, downloads: usize, times: Times) -> Result<Seen> {
    let meter = Arc::new(Mutex::new(Meter {
        from: Instant::now() + DEADLINE,
        echoes: Histogram::new_with_max(60_000_000_000, 3)?,
        events: Histogram::new_with_max(60_000_000_000, 3)?,
    }));
    let mut users = JoinSet::new();
    timeout(DEADLINE, watch_all(target, &meter, &mut users)).await??;
    for _ in 0..ECHOES {
        users.spawn(echo(Arc::clone(target), Arc::clone(&meter)));
    }
    let mut bulk = Downloads::start(target, downloads).await?;
    sleep(times.warm_up).await;
    let mark = bulk.mark();
    lock(&meter).from = Instant::now();
    sleep(times.measure).await;
    // All of them go on and on, unless something is wrong.
    if let Some(ended) = users.try_join_next() {
        ended?.context("a watch or an exec session")?;
    }
    let bulk = if downloads == 0 {
        0.0
    } else {
        bulk.speed_since(mark)?
    };
    let meter = lock(&meter);
    ensure!(
        !meter.echoes.is_empty() && !meter.events.is_empty(),
        "nothing came back"
    );
    Ok(Seen {
        echoes: meter.echoes.clone(),
        events: meter.events.clone(),
        bulk,
    })
}

async fn watch_all(
    target: &Arc<Target>,
    meter: &Arc<Mutex<Meter>>,
    users: &mut JoinSet<Result<()>>,
) -> Result<()> {
    let mut connection = target.connect(Http::Two).await?;
    for number in 0..WATCHES {
        if number % WATCHES_A_CONNECTION == 0 {
            connection = target.connect(Http::Two).await?;
        }
        let one = connection.share().context("HTTP/2 is shared")?;
        users.spawn(watch(Arc::clone(target), one, Arc::clone(meter)));
        // Spread over a second, as they come.
        sleep(Duration::from_millis(1000) / 200).await;
    }
    Ok(())
}

async fn watch(
    target: Arc<Target>,
    mut connection: Connection,
    meter: Arc<Mutex<Meter>>,
) -> Result<()> {
    let ask = target.ask(Http::Two, Method::GET, "/watch?ms=1000")?;
    let response = connection.send(&target, &ask, Payload::empty()).await?;
    let mut body = response.into_body();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        text.extend_from_slice(frame?.data_ref().map_or(&[][..], |data| &data[..]));
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let late = age(&text[..end])?;
            text.drain(..=end);
            lock(&meter).add(late, |meter| &mut meter.events);
        }
    }
    anyhow::bail!("a watch ended")
}

async fn echo(target: Arc<Target>, meter: Arc<Mutex<Meter>>) -> Result<()> {
    let ask = target.ask(Http::One, Method::POST, "/exec")?;
    let connection = target.connect(Http::One).await?;
    let mut stream = TokioIo::new(connection.upgrade(&target, &ask).await?);
    let mut back = [0; ECHO.len()];
    loop {
        let begin = Instant::now();
        stream.write_all(&ECHO).await?;
        stream.flush().await?;
        timeout(DEADLINE, stream.read_exact(&mut back)).await??;
        lock(&meter).add(begin.elapsed(), |meter| &mut meter.echoes);
        sleep(PAUSE).await;
    }
}

impl Meter {
    fn add(&mut self, took: Duration, to: impl Fn(&mut Self) -> &mut Histogram<u64>) {
        if Instant::now() >= self.from {
            let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            to(self).saturating_record(nanoseconds);
        }
    }
}

fn lock(meter: &Mutex<Meter>) -> std::sync::MutexGuard<'_, Meter> {
    meter.lock().unwrap_or_else(|error| error.into_inner())
}
