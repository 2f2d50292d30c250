//! W2: 1 GiB down and up, in one stream and in eight.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use http::Method;
use tokio::task::JoinSet;

use crate::client::{Http, Target};
use crate::payload::Payload;
use crate::report::Report;
use crate::tunnel::{Pids, Tunnel};
use crate::usage::Cpu;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Down,
    Up,
}

struct Sample {
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

/// Each transfer whose name contains `only`, direct and through the tunnel right after it.
pub async fn bench(tunnel: &Tunnel, only: &str, report: &mut Report) -> Result<()> {
    let wanted = CASES.into_iter().filter(|(name, ..)| name.contains(only));
    for (name, direction, streams) in wanted {
        let direct = run(&tunnel.direct, direction, streams, tunnel.pids).await?;
        let through = run(&tunnel.tunnel, direction, streams, tunnel.pids).await?;
        let speed = |sample: &Sample| GIB as f64 / 1e6 / sample.elapsed.as_secs_f64();
        report.add(&format!("{name}_direct"), speed(&direct), "MB/s");
        report.add(&format!("{name}_tunnel"), speed(&through), "MB/s");
        let ratio = speed(&through) / speed(&direct);
        report.add(&format!("{name}_ratio"), ratio, "of_direct");
        report.add(
            &format!("{name}_cpu_ratio"),
            direct.cpu.total().as_secs_f64() / through.cpu.total().as_secs_f64(),
            "of_direct",
        );
        for (process, cpu) in [
            ("server_cpu", through.cpu.server),
            ("agent_cpu", through.cpu.agent),
            ("cpu", through.cpu.tunnel()),
        ] {
            report.add(&format!("{name}_{process}"), cpu.as_secs_f64(), "s/GiB");
        }
    }
    Ok(())
}

/// Moves 1 GiB in all, over one connection a stream; the connections are there before the clock runs.
async fn run(
    target: &Arc<Target>,
    direction: Direction,
    streams: u64,
    pids: Pids,
) -> Result<Sample> {
    let length = GIB / streams;
    let ask = match direction {
        Direction::Down => target.ask(Http::One, Method::GET, &format!("/bytes?n={length}"))?,
        Direction::Up => target.ask(Http::One, Method::POST, "/sink")?,
    };
    let warm_up = target.ask(Http::One, Method::GET, "/small")?;
    let mut connections = Vec::new();
    for _ in 0..streams {
        let mut connection = target.connect(Http::One).await?;
        connection
            .exchange(target, &warm_up, Payload::empty())
            .await?;
        connections.push(connection);
    }
    let (before, begin) = (Cpu::now(pids)?, Instant::now());
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
    while let Some(ended) = transfers.join_next().await {
        ended??;
    }
    Ok(Sample {
        elapsed: begin.elapsed(),
        cpu: Cpu::now(pids)?.since(before),
    })
}
