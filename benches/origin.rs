//! The origin: stands where the API server would, reached directly, through the tunnel and through its peers.

pub mod live;
pub mod program;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use ci_tunnel_tests::apiserver::kubeconfig;
use ci_tunnel_tests::process::{Process, binary};
use tempfile::TempDir;
use tokio::process::Command;

use crate::client::{Dial, Target};
use crate::usage::Pid;

/// A running origin; it ends when this is dropped.
#[derive(Debug)]
pub struct Origin {
    pub address: SocketAddr,
    pub ca_pem: String,
    pub pid: Pid,
    _process: Process,
    directory: TempDir,
}

/// The token that it wants to see, as an API server would.
pub const TOKEN: &str = "the-origins-token";
/// The file with the authority that clients must trust, in the directory it is given.
const CA_FILE: &str = "origin-ca.pem";
/// What it prints before its address once it listens.
const LISTENING: &str = "listening on ";

impl Origin {
    pub async fn start() -> Result<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST, &[]).await
    }

    /// Listens at this address, started by a command that becomes it: `nsenter` for one.
    pub async fn start_at(address: Ipv4Addr, through: &[String]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut command = Command::new("env");
        command.args(through).arg(binary("origin")?);
        command.arg(directory.path()).arg(address.to_string());
        let log = directory.path().join("origin.log");
        let mut process = Process::start("origin", command, &log)?;
        let line = process
            .wait_for_line("its address", |line| line.starts_with(LISTENING))
            .await?;
        Ok(Self {
            address: line[LISTENING.len()..].parse()?,
            ca_pem: std::fs::read_to_string(directory.path().join(CA_FILE))?,
            pid: Pid(process.id().context("the origin has ended")?),
            _process: process,
            directory,
        })
    }

    /// The direct way.
    pub fn target(&self) -> Result<Target> {
        self.forwarded("direct", Dial::Straight(self.address), Vec::new())
    }

    /// The way through a program that passes on bytes: client and origin speak TLS through it.
    pub fn forwarded(
        &self,
        name: &'static str,
        dial: Dial,
        processes: Vec<(&'static str, Pid)>,
    ) -> Result<Target> {
        let target = Target::new(name, dial, &self.ca_pem, TOKEN, self.pid)?;
        Ok(target.with_processes(processes))
    }

    /// As agents are told of an API server.
    pub fn kubeconfig(&self) -> Result<PathBuf> {
        let file = self.directory.path().join("kubeconfig");
        let url = format!("https://{}", self.address);
        std::fs::write(&file, kubeconfig(&url, &self.ca_pem, TOKEN))?;
        Ok(file)
    }
}
