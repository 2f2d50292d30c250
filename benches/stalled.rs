//! W3: small GETs beside clients that have stopped reading a large answer.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use http::Method;
use http::Response;
use hyper::body::Incoming;
use tokio::time::sleep;

use crate::client::{Connection, Http, Target};
use crate::origin::Origin;
use crate::payload::Payload;
use crate::plan::Plan;
use crate::report::Report;
use crate::small::{self, Load};
use crate::tunnel::Tunnel;
use crate::usage::Cpu;

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
/// What processes use in a [`PAUSE`] once every buffer on the way is full.
const IDLE: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_millis(500);
/// Pauses after which the measurement begins all the same.
const PATIENCE: usize = 60;

/// The first number of stalled readers is 0: what the others are compared with.
pub async fn bench(plan: &Plan, report: &mut Report) -> Result<()> {
    let mut quiet = None;
    for count in [0, 64, 1000] {
        // Memory that an earlier count left behind must not be counted for the next.
        let origin = Origin::start().await?;
        let tunnel = Tunnel::start(&origin).await?;
        let mut stalled = Vec::new();
        for _ in 0..count {
            stalled.push(stall(&tunnel.target).await?);
        }
        settle(&tunnel.target).await?;
        let sample = small::run(&tunnel.target, PROBES, plan.times()).await?;
        let name = format!("n{count}");
        let mut row = report.row(NAME, &name, tunnel.target.name);
        row.add("p50", sample.quantile(0.5), "ms");
        row.add("p99", sample.quantile(0.99), "ms");
        row.count_failures(sample.failures);
        let quiet = *quiet.get_or_insert_with(|| sample.quantile(0.99));
        let ratio = sample.quantile(0.99) / quiet;
        row.add("p99_ratio", ratio, "of_none_stalled");
        for (role, pid) in &tunnel.target.processes {
            row.add(&format!("{role}_rss"), pid.memory()?.now_mib(), "MiB");
        }
        drop(stalled);
    }
    Ok(())
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

/// Waits until nobody has anything to do any more.
pub async fn settle(target: &Target) -> Result<()> {
    let used = || Ok::<_, anyhow::Error>(Cpu::now(target)?.total());
    let mut before = used()?;
    for _ in 0..PATIENCE {
        sleep(PAUSE).await;
        let now = used()?;
        if now.saturating_sub(before) <= IDLE {
            break;
        }
        before = now;
    }
    Ok(())
}
