//! W6: what agents and watches cost that only wait.

mod agents;

use std::time::Duration;

use anyhow::{Context as _, Result};
use ci_tunnel_tests::tunnel::Tunnel as Programs;
use http::{Method, Response};
use hyper::body::Incoming;
use tokio::time::sleep;

use self::agents::Agents;
use crate::client::{Connection, Http, Target};
use crate::origin::Origin;
use crate::payload::Payload;
use crate::plan::Plan;
use crate::report::{Report, Row};
use crate::tunnel::{AGENT, RULES, SERVER_YAML, Tunnel};
use crate::usage::{Cpu, Memory, settle};

/// One client's watch that has begun.
struct Watch {
    _response: Response<Incoming>,
}

/// What the processes held at a moment.
struct Held {
    processes: Vec<(&'static str, Memory)>,
}

const NAME: &str = "idle";
/// Of one connection to the server, which grants 250.
const WATCHES_A_CONNECTION: usize = 200;
/// Before the count begins, so that what is made once is there.
const FIRST: usize = 100;
/// More than one agent takes by default: room for all watches.
const AGENT_YAML: &str = "quic: { max_streams: 16384 }";

pub async fn bench(plan: &Plan, report: &mut Report) -> Result<()> {
    for &count in plan.pick(&[1_000][..], &[1_000, 10_000]) {
        let (watches, agents) = (format!("watches_{count}"), format!("agents_{count}"));
        if plan.wants(&watches) {
            let outcome = watch(count, plan, report, &watches).await;
            outcome.with_context(|| watches)?;
        }
        if plan.wants(&agents) {
            let outcome = connect(count, plan, report, &agents).await;
            outcome.with_context(|| agents)?;
        }
    }
    Ok(())
}

async fn watch(count: usize, plan: &Plan, report: &mut Report, case: &str) -> Result<()> {
    let origin = Origin::start().await?;
    let tunnel = start(&origin).await?;
    let _first = watches(&tunnel.target, FIRST).await?;
    let before = Held::now(&tunnel.target).await?;
    let _held = watches(&tunnel.target, count).await?;
    let after = Held::now(&tunnel.target).await?;
    let mut row = report.row(NAME, case, tunnel.target.name);
    after.record(&before, count, &["server", "agent"], &mut row);
    rest(&tunnel.target, plan, &mut row).await
}

async fn connect(count: usize, plan: &Plan, report: &mut Report, case: &str) -> Result<()> {
    let origin = Origin::start().await?;
    let tunnel = start(&origin).await?;
    let first = Agents::connect(&tunnel.programs, FIRST).await?;
    let before = Held::now(&tunnel.target).await?;
    let held = Agents::connect(&tunnel.programs, count).await?;
    let after = Held::now(&tunnel.target).await?;
    let mut row = report.row(NAME, case, tunnel.target.name);
    after.record(&before, count, &["server"], &mut row);
    rest(&tunnel.target, plan, &mut row).await?;
    // All of them are to have been there all the while.
    first.check()?;
    held.check()
}

async fn start(origin: &Origin) -> Result<Tunnel> {
    let programs = Programs::builder()
        .server_yaml(&format!("{SERVER_YAML}\nagents: {{ max_sessions: 20000 }}"))
        .agent_yaml(AGENT_YAML)
        .agent(AGENT, RULES)
        .kubeconfig(&origin.kubeconfig()?)
        .start()
        .await?;
    Tunnel::over("tunnel", programs, origin).await
}

async fn watches(target: &Target, count: usize) -> Result<(Vec<Connection>, Vec<Watch>)> {
    let ask = target.ask(Http::Two, Method::GET, "/watch")?;
    let (mut connections, mut held) = (Vec::new(), Vec::with_capacity(count));
    while held.len() < count {
        let mut connection = target.connect(Http::Two).await?;
        for _ in 0..WATCHES_A_CONNECTION.min(count - held.len()) {
            let response = connection.send(target, &ask, Payload::empty()).await?;
            held.push(Watch {
                _response: response,
            });
        }
        connections.push(connection);
    }
    Ok((connections, held))
}

/// What the processes do while nothing is asked of them.
async fn rest(target: &Target, plan: &Plan, row: &mut Row<'_>) -> Result<()> {
    let time = Duration::from_secs(plan.pick(3, 30));
    let mut before = Vec::new();
    for (role, pid) in &target.processes {
        before.push((role, *pid, pid.cpu()?));
    }
    sleep(time).await;
    for (role, pid, then) in before {
        let used = pid.cpu()?.saturating_sub(then).as_secs_f64();
        let percent = used / time.as_secs_f64() * 100.0;
        row.add(&format!("{role}_cpu"), percent, "% of a core");
    }
    Ok(())
}

impl Held {
    /// Once all is quiet.
    async fn now(target: &Target) -> Result<Self> {
        settle(|| Ok(Cpu::now(target)?.between())).await?;
        let processes = target.processes.iter();
        Ok(Self {
            processes: processes
                .map(|(role, pid)| Ok((*role, pid.memory()?)))
                .collect::<Result<_>>()?,
        })
    }

    fn record(&self, before: &Self, count: usize, roles: &[&str], row: &mut Row<'_>) {
        let both = self.processes.iter().zip(&before.processes);
        for ((role, now), (_, then)) in both.filter(|((role, ..), _)| roles.contains(role)) {
            let kibibytes = (now.now as f64 - then.now as f64) / 1024.0;
            row.add(&format!("{role}_each"), kibibytes / count as f64, "KiB");
            row.add(&format!("{role}_rss"), now.now_mib(), "MiB");
        }
    }
}
