//! Other tunnels before the same origin, at the versions that `make bench-peers` builds, set up as their own
//! documentation does it.

mod chisel;
mod frp;
mod konnectivity;
mod programs;
mod rathole;
mod rusnel;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use ci_tunnel_tests::process::Process;
use clap::ValueEnum;
use http::Method;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

pub use self::programs::Programs;
use crate::client::{Dial, Http, Target};
use crate::origin::Origin;
use crate::payload::Payload;
use crate::usage::Pid;

/// One way to set up a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    Rathole,
    RatholeNoise,
    Rusnel,
    FrpQuic,
    FrpTcp,
    Chisel,
    Konnectivity,
}

/// A peer that runs; its processes end when this is dropped.
#[derive(Debug)]
pub struct Running {
    pub target: Arc<Target>,
    processes: [Process; 2],
    _directory: TempDir,
}

/// What a set-up is made of.
struct Site<'a> {
    /// The peer's programs.
    programs: &'a Path,
    /// For its files.
    directory: &'a Path,
    origin: SocketAddr,
    /// Free ports: where the peer's agent finds its server, where clients do, and more.
    control: u16,
    service: u16,
    more: [u16; 4],
}

/// Two programs, of which the second dials the first, and how clients reach the origin through them.
struct Setup {
    server: Command,
    agent: Command,
    dial: Dial,
}

/// For all of a peer to be there: none takes more than a few seconds.
const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

impl Peer {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rathole => "rathole",
            Self::RatholeNoise => "rathole-noise",
            Self::Rusnel => "rusnel",
            Self::FrpQuic => "frp-quic",
            Self::FrpTcp => "frp-tcp",
            Self::Chisel => "chisel",
            Self::Konnectivity => "konnectivity",
        }
    }

    /// Whether this is the name of one.
    pub fn is_name(name: &str) -> bool {
        Self::value_variants()
            .iter()
            .any(|peer| peer.name() == name)
    }

    /// The name under which its programs are built.
    pub const fn project(self) -> &'static str {
        match self {
            Self::Rathole | Self::RatholeNoise => "rathole",
            Self::FrpQuic | Self::FrpTcp => "frp",
            Self::Rusnel => "rusnel",
            Self::Chisel => "chisel",
            Self::Konnectivity => "konnectivity",
        }
    }

    /// What it does less than the tunnel, which ends TLS at both ends, authenticates and authorizes each request, and
    /// writes an audit line for it.
    pub const fn less(self) -> &'static str {
        match self {
            Self::Rathole => "plain TCP between its ends; passes on bytes, knows no requests",
            Self::RatholeNoise => "passes on bytes, knows no requests",
            Self::Rusnel => "passes on bytes, knows no requests; peers not authenticated here",
            Self::FrpQuic | Self::FrpTcp => "passes on bytes, knows no requests; one shared token",
            Self::Chisel => "passes on bytes, knows no requests; peers not authenticated here",
            Self::Konnectivity => {
                "CONNECT proxy: passes on bytes, knows no requests; clients not authenticated here"
            }
        }
    }

    /// What it speaks between its two ends.
    pub const fn carrier(self) -> &'static str {
        match self {
            Self::Rathole => "TCP, one connection a client",
            Self::RatholeNoise => "Noise over TCP, one connection a client",
            Self::Rusnel | Self::FrpQuic => "QUIC",
            Self::FrpTcp => "yamux over TLS over TCP",
            Self::Chisel => "SSH over WebSocket over TCP",
            Self::Konnectivity => "gRPC over TLS over TCP",
        }
    }

    /// Starts both ends and waits until a request goes through.
    pub async fn start(self, programs: &Programs, origin: &Origin) -> Result<Running> {
        let program = programs.of(self.project());
        let programs = &program.context("not built: run `make bench-peers`")?.folder;
        let directory = tempfile::tempdir()?;
        let [control, service, more @ ..] = free_ports::<6>()?;
        let setup = self.set_up(&Site {
            programs,
            directory: directory.path(),
            origin: origin.address,
            control,
            service,
            more,
        })?;
        let log = |role: &str| directory.path().join(format!("{role}.log"));
        let mut server = Process::start(self.name(), setup.server, &log("server"))?;
        if self != Self::Rusnel {
            self.wait_for(&mut server, control).await?;
        }
        let agent = Process::start(self.name(), setup.agent, &log("agent"))?;
        let pids = [("server", &server), ("agent", &agent)];
        let pids = pids
            .into_iter()
            .map(|(role, process)| Ok((role, Pid(process.id().context("it has ended")?))))
            .collect::<Result<_>>()?;
        let target = origin.forwarded(self.name(), setup.dial, pids)?;
        let running = Running {
            target: Arc::new(target),
            processes: [server, agent],
            _directory: directory,
        };
        running.wait_until_it_works().await?;
        Ok(running)
    }

    fn set_up(self, site: &Site<'_>) -> Result<Setup> {
        match self {
            Self::Rathole => rathole::set_up(site, rathole::Transport::Plain),
            Self::RatholeNoise => rathole::set_up(site, rathole::Transport::Noise),
            Self::Rusnel => Ok(rusnel::set_up(site)),
            Self::FrpQuic => frp::set_up(site, "quic"),
            Self::FrpTcp => frp::set_up(site, "tcp"),
            Self::Chisel => Ok(chisel::set_up(site)),
            Self::Konnectivity => konnectivity::set_up(site),
        }
    }

    /// Until the server takes TCP connections: agents that come too early wait for a second or more.
    async fn wait_for(self, server: &mut Process, port: u16) -> Result<()> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let end = Instant::now() + DEADLINE;
        while TcpStream::connect(address).await.is_err() {
            let name = self.name();
            let gone = server.wait(PAUSE).await;
            anyhow::ensure!(
                gone.is_err() && Instant::now() < end,
                "{name}'s server does not listen; it wrote:\n{}",
                server.lines().join("\n")
            );
        }
        Ok(())
    }
}

impl Running {
    async fn wait_until_it_works(&self) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        while let Err(error) = self.ask().await {
            if Instant::now() > end {
                let lines = self
                    .processes
                    .each_ref()
                    .map(|process| process.lines().join("\n"));
                return Err(error.context(format!(
                    "{} carries no request; server and agent wrote:\n{}",
                    self.target.name,
                    lines.join("\n---\n")
                )));
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn ask(&self) -> Result<()> {
        let ask = self.target.ask(Http::One, Method::GET, "/small")?;
        let answered = async {
            let mut connection = self.target.connect(Http::One).await?;
            connection
                .exchange(&self.target, &ask, Payload::empty())
                .await
        };
        timeout(DEADLINE / 10, answered).await??;
        Ok(())
    }
}

impl Site<'_> {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.directory);
        command
    }

    /// A file that a program is told of as its argument.
    fn write(&self, name: &str, text: &str) -> Result<std::path::PathBuf> {
        let file = self.directory.join(name);
        std::fs::write(&file, text).with_context(|| file.display().to_string())?;
        Ok(file)
    }

    fn straight(&self) -> Dial {
        Dial::Straight(SocketAddr::from((Ipv4Addr::LOCALHOST, self.service)))
    }
}

/// Ports that were free a moment ago, all different: none of these programs says which one it was given.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
