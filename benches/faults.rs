//! W7: what is killed, frozen, cut off or moved, and how long until a request gets through again.

use std::time::Duration;

use anyhow::{Context as _, Result};
use ci_tunnel_tests::link::{Conditions, FAR, Link, NEAR, obstacle};
use ci_tunnel_tests::relay::Relay;
use ci_tunnel_tests::tunnel::{Builder, Tunnel as Programs};
use clap::ValueEnum as _;
use tokio::time::{Instant, sleep};

use crate::download::Downloads;
use crate::origin::Origin;
use crate::plan::Plan;
use crate::probe::{Outcome, Probes};
use crate::report::Report;
use crate::tunnel::{AGENT, RULES, SERVER_YAML, Tunnel};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Fault {
    /// kill -9; the clock runs once it listens again
    ServerKilled,
    /// The same over HTTP/2
    ServerKilledHttp2,
    /// kill -9; the clock runs from its start
    AgentKilled,
    /// SIGSTOP for three seconds; the clock runs from SIGCONT
    AgentFrozen,
    /// SIGSTOP of one of two agents of a name, until the end
    ReplicaFrozen,
    /// All UDP is dropped from now on
    UdpDropped,
    /// The agent's host gets another address
    AddressChanged,
}

struct Struck {
    /// Requests that are sent from now on are those that the fault is in the way of.
    at: Instant,
    /// What the first success is timed from.
    from: Instant,
}

const NAME: &str = "faults";
/// Before the fault: requests that must succeed.
const BEFORE: Duration = Duration::from_millis(500);
const FROZEN: Duration = Duration::from_secs(3);

/// Each fault with programs of its own.
pub async fn bench(plan: &Plan, report: &mut Report) -> Result<()> {
    for _ in 1..=plan.pick(1, *plan.rounds().end()) {
        for fault in Fault::value_variants() {
            if !plan.wants(&fault.name()) {
                continue;
            }
            if *fault == Fault::AddressChanged
                && let Some(missing) = obstacle()
            {
                eprintln!("NOT MEASURED: {NAME} {}: {missing}", fault.name());
                continue;
            }
            match fault.happen().await {
                Ok(outcome) => record(*fault, outcome, report),
                Err(error) => {
                    report.lose([NAME, &fault.name(), "tunnel"], &format!("{error:#}"));
                }
            }
        }
    }
    Ok(())
}

fn record(fault: Fault, outcome: Outcome, report: &mut Report) {
    let mut row = report.row(NAME, &fault.name(), "tunnel");
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    row.add("first_success", milliseconds(outcome.first_success), "ms");
    row.add("slowest", milliseconds(outcome.slowest), "ms");
    // Failures are a result here, and no reason to distrust the others.
    row.add("failures", outcome.failed as f64, "requests");
    row.add("asked", outcome.asked as f64, "requests");
}

impl Fault {
    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().replace('-', "_"))
    }

    async fn happen(self) -> Result<Outcome> {
        if self == Self::AddressChanged {
            return moved();
        }
        let relay = Relay::start().await?;
        let origin = Origin::start().await?;
        let mut builder = builder(&origin)?;
        if self == Self::UdpDropped {
            builder = builder.relay(&relay);
        }
        if self == Self::ServerKilledHttp2 {
            builder = builder.agent_yaml("transport: http2");
        }
        let tunnel = Tunnel::over("tunnel", builder.start().await?, &origin).await?;
        let programs = &tunnel.programs;
        if self == Self::ReplicaFrozen {
            programs.start_agent(AGENT).await?;
            programs.wait_sessions(AGENT, 2).await?;
        }
        let probes = Probes::start(&tunnel.target);
        sleep(BEFORE).await;
        let struck = self.strike(programs, &relay).await?;
        let outcome = probes.outcome(struck.at, struck.from).await;
        outcome.with_context(|| programs.last_words())
    }

    async fn strike(self, programs: &Programs, relay: &Relay) -> Result<Struck> {
        match self {
            Self::ServerKilled | Self::ServerKilledHttp2 => programs.restart_server().await?,
            Self::AgentKilled => {
                programs.agent(0).kill();
                let at = Instant::now();
                programs.agent(0).start().await?;
                return Ok(Struck { at, from: at });
            }
            Self::AgentFrozen => {
                programs.agent(0).stop()?;
                let at = Instant::now();
                sleep(FROZEN).await;
                let from = Instant::now();
                programs.agent(0).cont()?;
                return Ok(Struck { at, from });
            }
            Self::ReplicaFrozen => programs.agent(0).stop()?,
            Self::UdpDropped => relay.block_udp(true),
            Self::AddressChanged => {}
        }
        let at = Instant::now();
        Ok(Struck { at, from: at })
    }
}

fn builder(origin: &Origin) -> Result<Builder<'static>> {
    Ok(Programs::builder()
        .server_yaml(SERVER_YAML)
        .agent(AGENT, RULES)
        .kubeconfig(&origin.kubeconfig()?))
}

/// A download that runs all the while must live through it, too.
fn moved() -> Result<Outcome> {
    let link = Link::start(&Conditions {
        delay: Duration::from_millis(5),
        rate: Some(200_000_000),
        ..Conditions::default()
    })?;
    link.near().block_on(async || {
        let through = link.far().command();
        // Not where the agent's host is, since its address is what goes away.
        let origin = Origin::start_at(std::net::Ipv4Addr::LOCALHOST, &through).await?;
        let programs = builder(&origin)?
            .agents_ip(NEAR.into())
            .agents_through(&through)
            .start()
            .await?;
        let tunnel = Tunnel::over("tunnel", programs, &origin).await?;
        let mut download = Downloads::start(&tunnel.target, 1).await?;
        let probes = Probes::start(&tunnel.target);
        sleep(BEFORE).await;
        let fault = Instant::now();
        link.move_far().with_context(|| format!("moving {FAR}"))?;
        let outcome = probes.outcome(fault, fault).await?;
        let mark = download.mark();
        sleep(BEFORE).await;
        let speed = download.speed_since(mark);
        let speed = speed.context("the download did not survive")?;
        anyhow::ensure!(speed > 0.0, "the download stands still");
        Ok(outcome)
    })
}
