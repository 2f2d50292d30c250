//! W3 of the peers: how small GETs fare through them beside readers that have stopped.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::timeout;

use crate::client::Target;
use crate::origin::Origin;
use crate::peers::Peer;
use crate::plan::Plan;
use crate::report::Report;
use crate::small::{self, Sample};
use crate::stalled;
use crate::usage::{Cpu, Memory, settle};

/// For another reader to get the head of its answer, before it stops.
const STALL: Duration = Duration::from_secs(3);
/// For the probes to connect and to end; each of their requests has a shorter deadline of its own.
const PROBE: Duration = Duration::from_secs(20);

/// Each peer with each number of stalled readers, until one is too many. As in [`stalled`], the first number is 0, and
/// each has programs of its own; unlike there, one round is enough: it is about whether, not how fast.
pub async fn bench(plan: &Plan, report: &mut Report) -> Result<()> {
    let counts: &[usize] = plan.pick(&[0, 4, 64], &[0, 1, 4, 64, 1000]);
    for peer in &plan.peers {
        let mut quiet = None;
        let mut too_many = None;
        for &count in counts {
            let case = format!("n{count}");
            if let Some(fewer) = too_many {
                let why = format!("not tried, since {fewer} are too many");
                report.lose([stalled::NAME, &case, peer.name()], &why);
                continue;
            }
            let outcome = probe_beside(*peer, plan, count).await;
            let Some(seen) = report.got(stalled::NAME, &case, peer.name(), outcome)? else {
                // As many as there are: no probe got through.
                let mut row = report.row(stalled::NAME, &case, peer.name());
                row.add("failures", stalled::PROBES.connections as f64, "requests");
                too_many = Some(count);
                continue;
            };
            let p99 = seen.probes.quantile(0.99);
            let mut row = report.row(stalled::NAME, &case, peer.name());
            row.count_failures(seen.probes.failures);
            if seen.probes.failures > 0 {
                too_many = Some(count);
                continue;
            }
            row.add("p50", seen.probes.quantile(0.5), "ms");
            row.add("p99", p99, "ms");
            let ratio = p99 / *quiet.get_or_insert(p99);
            row.add("p99_ratio", ratio, "of_none_stalled");
            for (role, memory) in seen.memory {
                row.add(&format!("{role}_rss"), memory.now_mib(), "MiB");
            }
        }
    }
    Ok(())
}

struct Seen {
    probes: Sample,
    memory: Vec<(&'static str, Memory)>,
}

async fn probe_beside(peer: Peer, plan: &Plan, count: usize) -> Result<Seen> {
    let origin = Origin::start().await?;
    let running = peer.start(&plan.programs, &origin).await?;
    let target = &running.target;
    let _stalled = stall(target, count).await?;
    settle(|| Ok(Cpu::now(target)?.total())).await?;
    let probes = timeout(PROBE, small::run(target, stalled::PROBES, plan.times()))
        .await
        .context("no small GET goes through")??;
    let memory = target.processes.iter();
    Ok(Seen {
        probes,
        memory: memory
            .map(|(role, pid)| Ok((*role, pid.memory()?)))
            .collect::<Result<_>>()?,
    })
}

async fn stall(target: &Arc<Target>, count: usize) -> Result<Vec<stalled::Stalled>> {
    let mut readers = Vec::with_capacity(count);
    for already in 0..count {
        let reader = timeout(STALL, stalled::stall(target)).await;
        let reader =
            reader.with_context(|| format!("with {already} stalled, no other gets an answer"))?;
        readers.push(reader?);
    }
    Ok(readers)
}
