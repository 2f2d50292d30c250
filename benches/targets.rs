//! The ways to one origin that are compared: direct, the tunnel, and its peers.

use std::sync::Arc;

use anyhow::{Context as _, Result};

use crate::client::Target;
use crate::origin::Origin;
use crate::peers::Running;
use crate::plan::{Length, Plan};
use crate::report::Report;
use crate::tunnel::Tunnel;

/// An origin and all ways to it, running side by side; they end when this is dropped.
#[derive(Debug)]
pub struct Targets {
    pub direct: Arc<Target>,
    pub tunnel: Tunnel,
    /// The tunnel over its other transport, in full runs.
    pub fallback: Option<Tunnel>,
    pub peers: Vec<Running>,
    _origin: Origin,
}

impl Targets {
    pub async fn start(plan: &Plan) -> Result<Self> {
        let origin = Origin::start().await?;
        let mut peers = Vec::new();
        for peer in &plan.peers {
            // A second time, since another program may have taken one of its ports.
            let started = match peer.start(&plan.programs, &origin).await {
                Err(error) => {
                    eprintln!("{} once more: {error:#}", peer.name());
                    peer.start(&plan.programs, &origin).await
                }
                started => started,
            };
            peers.push(started.with_context(|| peer.name())?);
        }
        let fallback = match plan.length {
            Length::Quick => None,
            Length::Full => Some(Tunnel::start_over_http2(&origin).await?),
        };
        Ok(Self {
            direct: Arc::new(origin.target()?),
            tunnel: Tunnel::start(&origin).await?,
            fallback,
            peers,
            _origin: origin,
        })
    }

    /// Direct first, since the others are compared with it.
    pub fn in_turn(&self) -> Vec<Arc<Target>> {
        let ours = [&self.direct, &self.tunnel.target];
        let fallback = self.fallback.iter().map(|tunnel| &tunnel.target);
        let peers = self.peers.iter().map(|peer| &peer.target);
        let all = ours.into_iter().chain(fallback).chain(peers);
        all.map(Arc::clone).collect()
    }

    /// What each process holds now, and held at most since the targets were started.
    pub fn memory(&self, workload: &str, report: &mut Report) -> Result<()> {
        for target in self.in_turn() {
            let mut row = report.row(workload, "memory", target.name);
            for (role, pid) in &target.processes {
                let memory = pid.memory()?;
                row.add(&format!("{role}_rss"), memory.now_mib(), "MiB");
                row.add(&format!("{role}_peak"), memory.peak_mib(), "MiB");
            }
        }
        Ok(())
    }
}
