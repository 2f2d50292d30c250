//! Origin, server and agent as processes of their own, started as their users start them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use ci_tunnel_tests::apiserver::kubeconfig;
use ci_tunnel_tests::process::{Process, binary};
use ci_tunnel_tests::tunnel::Tunnel as Programs;
use tempfile::TempDir;
use tokio::process::Command;

use crate::client::Target;
use crate::origin;
use crate::usage::Pid;

/// The running processes; they end when this is dropped.
#[derive(Debug)]
pub struct Tunnel {
    pub direct: Arc<Target>,
    pub tunnel: Arc<Target>,
    pub pids: Pids,
    _programs: Programs,
    _origin: Process,
    _directory: TempDir,
}

/// The processes whose use is counted.
#[derive(Debug, Clone, Copy)]
pub struct Pids {
    pub origin: Pid,
    pub server: Pid,
    pub agent: Pid,
}

/// Everything is as by default but the limits, since one job sends everything here.
const SERVER_YAML: &str = "limits: \
    { job: { requests_per_second: 0, concurrent: 0 }, project: { requests_per_second: 0, concurrent: 0 }, \
    agent: { requests_per_second: 0, concurrent: 0 } }";
const RULES: &str = "ci_access: { projects: [{ id: acme/app, access_as: { ci_job: {} } }] }";
/// The job that sends every request, described as fully as jobs are.
#[rustfmt::skip]
const JOB: [&str; 18] = [
    "--project", "acme/app", "--project-id", "7", "--job-id", "42", "--pipeline-id", "41", "--ref", "main",
    "--ref-type", "branch", "--user", "someone", "--user-id", "3", "--ttl", "12h",
];

impl Tunnel {
    pub async fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let (origin, address) = start_origin(directory.path()).await?;
        let origin_ca = std::fs::read_to_string(directory.path().join(origin::CA_FILE))?;
        let upstream = directory.path().join("kubeconfig");
        let text = kubeconfig(&format!("https://{address}"), &origin_ca, origin::TOKEN);
        std::fs::write(&upstream, text)?;
        let programs = Programs::builder()
            .server_yaml(SERVER_YAML)
            .agent("acme/infra:bench", RULES)
            .kubeconfig(&upstream)
            .start()
            .await?;
        let agent = programs.status().await?["agents"][0]["id"].clone();
        let credential = format!("ci:{agent}:{}", programs.job_token(&JOB).await?);
        let api = programs.api_addr();
        Ok(Self {
            direct: Arc::new(Target::new("origin", address, &origin_ca, origin::TOKEN)?),
            tunnel: Arc::new(Target::new("tunnel", api, programs.ca_pem(), &credential)?),
            pids: Pids {
                origin: Pid(origin.id().context("the origin has ended")?),
                server: Pid(programs.server().pid()?),
                agent: Pid(programs.agent(0).pid()?),
            },
            _programs: programs,
            _origin: origin,
            _directory: directory,
        })
    }
}

async fn start_origin(directory: &Path) -> Result<(Process, SocketAddr)> {
    let mut command = Command::new(binary("origin")?);
    command.arg(directory);
    let mut process = Process::start("origin", command, &directory.join("origin.log"))?;
    let line = process
        .wait_for_line("its address", |line| line.starts_with(origin::LISTENING))
        .await?;
    Ok((process, line[origin::LISTENING.len()..].parse()?))
}
