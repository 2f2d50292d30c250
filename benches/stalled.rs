//! W3: small GETs beside clients that have stopped reading a large answer.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use http::Method;
use http::Response;
use hyper::body::Incoming;
use tokio::time::sleep;

use crate::client::{Connection, Http, Target};
use crate::payload::Payload;
use crate::report::Report;
use crate::small::{self, Load, Times};
use crate::tunnel::{Pids, Tunnel};

/// A client that reads no further.
struct Stalled {
    _connection: Connection,
    _response: Response<Incoming>,
}

/// Small GETs meanwhile.
const PROBES: Load = Load {
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

/// `counts` are the numbers of stalled readers, the first of which is 0: what the others are compared with.
pub async fn bench(counts: &[usize], times: Times, report: &mut Report) -> Result<()> {
    let mut quiet = None;
    for &count in counts {
        // Memory that an earlier count left behind must not be counted for the next.
        let tunnel = Tunnel::start().await?;
        let mut stalled = Vec::new();
        for _ in 0..count {
            stalled.push(stall(&tunnel.tunnel).await?);
        }
        settle(tunnel.pids).await?;
        let sample = small::run(&tunnel.tunnel, PROBES, times, tunnel.pids).await?;
        let name = format!("stalled_{count}");
        report.add(&format!("{name}_p50"), sample.quantile(0.5), "ms");
        report.add(&format!("{name}_p99"), sample.quantile(0.99), "ms");
        report.add(
            &format!("{name}_failures"),
            sample.failures as f64,
            "requests",
        );
        let quiet = *quiet.get_or_insert_with(|| sample.quantile(0.99));
        report.add(
            &format!("{name}_p99_ratio"),
            sample.quantile(0.99) / quiet,
            "of_none_stalled",
        );
        for (process, pid) in [("server", tunnel.pids.server), ("agent", tunnel.pids.agent)] {
            let mebibytes = pid.memory()?.now as f64 / f64::from(1 << 20);
            report.add(&format!("{name}_{process}_rss"), mebibytes, "MiB");
        }
        drop(stalled);
    }
    Ok(())
}

async fn stall(target: &Arc<Target>) -> Result<Stalled> {
    let ask = target.ask(Http::One, Method::GET, "/bytes?n=1073741824")?;
    let mut connection = target.connect(Http::One).await?;
    let response = connection.send(target, &ask, Payload::empty()).await?;
    Ok(Stalled {
        _connection: connection,
        _response: response,
    })
}

async fn settle(pids: Pids) -> Result<()> {
    let used =
        || Ok::<_, anyhow::Error>(pids.server.cpu()? + pids.agent.cpu()? + pids.origin.cpu()?);
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
