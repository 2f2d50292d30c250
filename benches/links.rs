//! W5: small GETs beside a bulk download, over links that are slow and lose packets.
//!
//! Client and server are on the near host, agent and origin on the far one: all that crosses the link is the tunnel's, or,
//! of the direct way, the client's own connection.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use ci_tunnel_tests::link::{Conditions, FAR, Link, NEAR, obstacle};
use ci_tunnel_tests::tunnel::Tunnel as Programs;
use tokio::time::sleep;

use crate::client::{Http, Target};
use crate::download::{Downloads, alone};
use crate::origin::Origin;
use crate::plan::{Length, Plan, Times};
use crate::report::Report;
use crate::small::{self, Load, Sample};
use crate::tunnel::{AGENT, RULES, SERVER_YAML, Tunnel};

/// One link and what both ends of it do when packets are lost.
#[derive(Debug, Clone, Copy)]
struct Cell {
    rtt: u64,
    /// Of a thousand packets, each way.
    lost: u32,
    congestion: &'static str,
}

/// What crosses the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The client's TLS over TCP.
    Direct,
    Quic,
    Http2,
}

struct Measured {
    /// MB/s of one download with nothing beside it, and beside the GETs.
    alone: f64,
    beside: f64,
    /// In full runs: with nothing beside them.
    quiet: Option<Sample>,
    gets: Sample,
}

const NAME: &str = "links";
const WAYS: [Way; 3] = [Way::Direct, Way::Quic, Way::Http2];
const GETS: Load = Load {
    name: "links",
    http: Http::One,
    connections: 8,
    streams: 1,
};
/// Bits a second.
const RATE: u64 = 200_000_000;
/// What waits before the link: as much as it carries in 40 ms.
const BUFFER: u64 = 1_000_000;

/// Each link with each way over it in turn.
pub fn bench(plan: &Plan, report: &mut Report) {
    if let Some(missing) = obstacle() {
        eprintln!("NOT MEASURED: {NAME}: {missing}");
        return;
    }
    for _ in 1..=plan.pick(1, *plan.rounds().end()) {
        for cell in cells(plan) {
            for way in WAYS {
                match measure(cell, way, plan) {
                    Ok(measured) => record(cell, way, &measured, report),
                    Err(error) => {
                        let place = [NAME, &cell.name(), way.name()];
                        report.lose(place, &format!("{error:#}"));
                    }
                }
            }
        }
    }
}

fn cells(plan: &Plan) -> Vec<Cell> {
    let mut cells = Vec::new();
    for &rtt in plan.pick(&[40][..], &[20, 40, 100]) {
        for &lost in plan.pick(&[10][..], &[0, 1, 10, 30]) {
            for congestion in ["cubic", "bbr"] {
                cells.push(Cell {
                    rtt,
                    lost,
                    congestion,
                });
            }
        }
    }
    cells.retain(|cell| plan.wants(&cell.name()));
    cells
}

fn times(plan: &Plan) -> Times {
    Times {
        warm_up: Duration::from_millis(plan.pick(1000, 3000)),
        measure: Duration::from_millis(plan.pick(2500, 6000)),
    }
}

fn measure(cell: Cell, way: Way, plan: &Plan) -> Result<Measured> {
    let link = Link::start(&cell.conditions())?;
    link.set_congestion(cell.congestion)?;
    link.near().block_on(async || {
        let origin = Origin::start_at(FAR, &link.far().command()).await?;
        match way {
            Way::Direct => on(&Arc::new(origin.target()?), plan).await,
            Way::Quic | Way::Http2 => {
                let tunnel = start(&link, cell, way, &origin).await?;
                let measured = on(&tunnel.target, plan).await;
                measured.with_context(|| tunnel.programs.last_words())
            }
        }
    })
}

async fn start(link: &Link, cell: Cell, way: Way, origin: &Origin) -> Result<Tunnel> {
    let congestion = format!("quic: {{ congestion: {} }}", cell.congestion);
    let transport = if way == Way::Quic { "quic" } else { "http2" };
    let programs = Programs::builder()
        .server_yaml(&format!("{SERVER_YAML}\n{congestion}"))
        .agent_yaml(&format!("transport: {transport}\n{congestion}"))
        .agents_ip(NEAR.into())
        .agents_through(&link.far().command())
        .agent(AGENT, RULES)
        .kubeconfig(&origin.kubeconfig()?)
        .start()
        .await?;
    Tunnel::over(way.name(), programs, origin).await
}

async fn on(target: &Arc<Target>, plan: &Plan) -> Result<Measured> {
    let times = times(plan);
    let quiet = match plan.length {
        Length::Quick => None,
        Length::Full => Some(small::run(target, GETS, times).await?),
    };
    let alone = alone(target, 1, times).await?;
    let mut download = Downloads::start(target, 1).await?;
    sleep(times.warm_up).await;
    let mark = download.mark();
    let gets = small::run(target, GETS, times).await?;
    Ok(Measured {
        alone,
        beside: download.speed_since(mark)?,
        quiet,
        gets,
    })
}

fn record(cell: Cell, way: Way, measured: &Measured, report: &mut Report) {
    let mut row = report.row(NAME, &cell.name(), way.name());
    row.add("bulk_alone", measured.alone, "MB/s");
    let share = measured.alone * 8e6 / RATE as f64;
    row.add("bulk_alone_share", share, "of_link");
    row.add("bulk_beside", measured.beside, "MB/s");
    let mut failures = 0;
    for (name, sample) in [
        ("quiet", measured.quiet.as_ref()),
        ("beside", Some(&measured.gets)),
    ] {
        let Some(sample) = sample else { continue };
        row.add(&format!("{name}_p50"), sample.quantile(0.5), "ms");
        row.add(&format!("{name}_p99"), sample.quantile(0.99), "ms");
        row.add(&format!("{name}_rate"), sample.rate(), "req/s");
        failures += sample.failures;
    }
    row.count_failures(failures);
}

impl Cell {
    fn name(self) -> String {
        let Self {
            rtt,
            lost,
            congestion,
        } = self;
        let percent = f64::from(lost) / 10.0;
        format!("rtt{rtt}_loss{percent}_{congestion}")
    }

    fn conditions(self) -> Conditions {
        Conditions {
            delay: Duration::from_millis(self.rtt) / 2,
            loss: f64::from(self.lost) / 1000.0,
            rate: Some(RATE),
            buffer: BUFFER,
            ..Conditions::default()
        }
    }
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Quic => "tunnel",
            Self::Http2 => "tunnel-http2",
        }
    }
}
