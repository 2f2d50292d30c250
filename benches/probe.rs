//! Requests that never cease while something is done to the tunnel: which of them fail, and when one gets through again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::Method;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::client::{Http, Target};
use crate::payload::Payload;

/// A new request on a new connection every [`PERIOD`], as many at a time as it takes.
#[derive(Debug)]
pub struct Probes {
    asked: Arc<Mutex<Vec<Probe>>>,
    _asking: JoinSet<()>,
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    sent: Instant,
    /// When its end was known, and whether it was a good one.
    ended: Option<(Instant, bool)>,
}

/// What became of the requests around a fault.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// From a moment until the first answer to a request that was sent after the fault began.
    pub first_success: Duration,
    /// Of all requests, how many failed.
    pub failed: u64,
    pub asked: u64,
    /// How long the slowest of those took that were answered.
    pub slowest: Duration,
}

impl Probes {
    pub fn start(target: &Arc<Target>) -> Self {
        let asked = Arc::<Mutex<Vec<Probe>>>::default();
        let mut asking = JoinSet::new();
        asking.spawn(ask_on_and_on(Arc::clone(target), Arc::clone(&asked)));
        Self {
            asked,
            _asking: asking,
        }
    }

    /// Waits for the first success of a request that was sent after `fault`, and for all that are under way a moment
    /// later. `from` is what the first success is timed from.
    pub async fn outcome(self, fault: Instant, from: Instant) -> Result<Outcome> {
        let first = timeout(PATIENCE, self.first_success(fault)).await;
        let first = first.context("no request gets through any more")?;
        sleep(AFTERWARDS).await;
        let last = Instant::now();
        let settled = async {
            while self
                .look()
                .iter()
                .any(|probe| probe.sent < last && probe.ended.is_none())
            {
                sleep(PERIOD).await;
            }
        };
        timeout(DEADLINE, settled).await?;
        let probes: Vec<_> = self
            .look()
            .into_iter()
            .filter(|probe| probe.sent < last)
            .collect();
        ensure!(!probes.is_empty(), "nothing was asked");
        let ended = || {
            probes
                .iter()
                .filter_map(|probe| Some((probe.sent, probe.ended?)))
        };
        let good = ended().filter(|(_, (_, good))| *good);
        Ok(Outcome {
            first_success: first.saturating_duration_since(from),
            failed: ended().filter(|(_, (_, good))| !good).count() as u64,
            asked: probes.len() as u64,
            slowest: good
                .map(|(sent, (at, _))| at - sent)
                .max()
                .unwrap_or_default(),
        })
    }

    async fn first_success(&self, fault: Instant) -> Instant {
        loop {
            let after = self.look().into_iter().filter(|probe| probe.sent >= fault);
            let good = after.filter_map(|probe| probe.ended.filter(|(_, good)| *good));
            if let Some(first) = good.map(|(at, _)| at).min() {
                return first;
            }
            sleep(PERIOD).await;
        }
    }

    fn look(&self) -> Vec<Probe> {
        lock(&self.asked).clone()
    }
}

async fn ask_on_and_on(target: Arc<Target>, asked: Arc<Mutex<Vec<Probe>>>) {
    let mut due = interval(PERIOD);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut running = JoinSet::new();
    loop {
        due.tick().await;
        while running.try_join_next().is_some() {}
        let number = {
            let mut asked = lock(&asked);
            asked.push(Probe {
                sent: Instant::now(),
                ended: None,
            });
            asked.len() - 1
        };
        let (target, asked) = (Arc::clone(&target), Arc::clone(&asked));
        running.spawn(async move {
            let answer = timeout(DEADLINE, ask(&target)).await;
            let good = matches!(answer, Ok(Ok(())));
            lock(&asked)[number].ended = Some((Instant::now(), good));
        });
    }
}

async fn ask(target: &Target) -> Result<()> {
    let ask = target.ask(Http::One, Method::GET, "/small")?;
    let mut connection = target.connect(Http::One).await?;
    connection.exchange(target, &ask, Payload::empty()).await?;
    Ok(())
}

fn lock(asked: &Mutex<Vec<Probe>>) -> std::sync::MutexGuard<'_, Vec<Probe>> {
    asked.lock().unwrap_or_else(|error| error.into_inner())
}

const PERIOD: Duration = Duration::from_millis(20);
/// How long requests go on after all is well again.
const AFTERWARDS: Duration = Duration::from_secs(1);
/// Of one request: longer than a server holds one.
const DEADLINE: Duration = Duration::from_secs(30);
/// For the tunnel to be there again.
const PATIENCE: Duration = Duration::from_secs(90);
