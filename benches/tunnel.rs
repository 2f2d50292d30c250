//! Origin, server and agent as processes of their own, started as their users start them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use ci_tunnel_tests::process::Process;
use serde_json::Value;
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
    _processes: [Process; 3],
    _directory: TempDir,
}

/// The processes whose use is counted.
#[derive(Debug, Clone, Copy)]
pub struct Pids {
    pub origin: Pid,
    pub server: Pid,
    pub agent: Pid,
}

impl Tunnel {
    pub async fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let dir = directory.path();
        let (origin_process, origin_addr) = start_origin(dir).await?;
        let config = write_server_config(dir)?;
        let (server_process, listens) = start_server(dir, &config).await?;
        let agent: Value = serde_json::from_str(
            &server_cli(&config, &["agent", "create", "acme/infra:bench", "--json"]).await?,
        )?;
        let agent_process = start_agent(dir, listens.agents, origin_addr, &agent).await?;
        let job_token = server_cli(&config, &JOB).await?;
        let credential = format!("ci:{}:{}", agent["id"], job_token.trim());
        let origin_ca = std::fs::read_to_string(dir.join(origin::CA_FILE))?;
        let server_ca = std::fs::read_to_string(dir.join("state/ca.pem"))?;
        Ok(Self {
            direct: Arc::new(Target::new("origin", origin_addr, &origin_ca, origin::TOKEN)?),
            tunnel: Arc::new(Target::new("tunnel", listens.kubernetes_api, &server_ca, &credential)?),
            pids: Pids {
                origin: pid(&origin_process)?,
                server: pid(&server_process)?,
                agent: pid(&agent_process)?,
            },
            _processes: [agent_process, server_process, origin_process],
            _directory: directory,
        })
    }
}

/// The job that sends every request, described as fully as jobs are.
const JOB: [&str; 20] = [
    "job-token", "issue", "--project", "acme/app", "--project-id", "7", "--job-id", "42", "--pipeline-id", "41",
    "--ref", "main", "--ref-type", "branch", "--user", "someone", "--user-id", "3", "--ttl", "12h",
];

struct Listens {
    kubernetes_api: SocketAddr,
    agents: SocketAddr,
}

async fn start_origin(dir: &Path) -> Result<(Process, SocketAddr)> {
    let mut command = Command::new(binary_beside("origin")?);
    command.arg(dir);
    let mut process = Process::start("origin", command, &dir.join("origin.log"))?;
    let line = process
        .wait_for_line("its address", |line| line.starts_with(origin::LISTENING))
        .await?;
    Ok((process, line[origin::LISTENING.len()..].parse()?))
}

/// Everything as by default but ports, directories and the limits, since one job sends everything here.
fn write_server_config(dir: &Path) -> Result<PathBuf> {
    let rules = dir.join("repositories/acme/infra/.gitlab/agents/bench");
    std::fs::create_dir_all(&rules)?;
    std::fs::write(
        rules.join("config.yaml"),
        "ci_access:\n  projects:\n    - id: acme/app\n      access_as: {ci_job: {}}\n",
    )?;
    let config = dir.join("server.yaml");
    let text = format!(
        "state_dir: {dir}/state\n\
         kubernetes_api: {{listen: \"127.0.0.1:0\"}}\n\
         agents: {{listen: \"127.0.0.1:0\"}}\n\
         ops: {{listen: \"127.0.0.1:0\"}}\n\
         log: {{format: json}}\n\
         config_repositories: [{{directory: {dir}/repositories}}]\n\
         limits:\n\
        \x20 job: {{requests_per_second: 0, concurrent: 0}}\n\
        \x20 project: {{requests_per_second: 0, concurrent: 0}}\n",
        dir = dir.display(),
    );
    std::fs::write(&config, text)?;
    Ok(config)
}

async fn start_server(dir: &Path, config: &Path) -> Result<(Process, Listens)> {
    let mut command = Command::new(binary_beside("ci-tunnel-server")?);
    command.arg("--config").arg(config).arg("serve");
    let mut process = Process::start("server", command, &dir.join("server.log"))?;
    let line = process
        .wait_for_line("its addresses", |line| {
            line.contains("\"serving\"") && line.contains("kubernetes_api")
        })
        .await?;
    let line: Value = serde_json::from_str(&line)?;
    let address = |field: &str| -> Result<SocketAddr> {
        let text = line["fields"][field].as_str().or(line[field].as_str());
        Ok(text
            .with_context(|| format!("{field} in {line}"))?
            .parse()?)
    };
    let listens = Listens {
        kubernetes_api: address("kubernetes_api")?,
        agents: address("agents")?,
    };
    Ok((process, listens))
}

async fn start_agent(
    dir: &Path,
    server: SocketAddr,
    origin: SocketAddr,
    agent: &Value,
) -> Result<Process> {
    let kubeconfig = dir.join("kubeconfig");
    let ca = dir.join(origin::CA_FILE);
    let text = format!(
        "{{apiVersion: v1, kind: Config, current-context: o, \
         clusters: [{{name: o, cluster: {{server: \"https://{origin}\", certificate-authority: {ca}}}}}], \
         users: [{{name: o, user: {{token: {token}}}}}], \
         contexts: [{{name: o, context: {{cluster: o, user: o}}}}]}}\n",
        ca = ca.display(),
        token = origin::TOKEN,
    );
    std::fs::write(&kubeconfig, text)?;
    let token = agent["token"].as_str().context("the agent's token")?;
    let mut command = Command::new(binary_beside("ci-tunnel-agent")?);
    command
        .args(["run", "--ops", "127.0.0.1:0", "--log-format", "json"])
        .arg("--server")
        .arg(server.to_string())
        .arg("--ca-file")
        .arg(dir.join("state/ca.pem"))
        .arg("--kubeconfig")
        .arg(&kubeconfig)
        .env("CI_TUNNEL_TOKEN", token);
    let mut process = Process::start("agent", command, &dir.join("agent.log"))?;
    process
        .wait_for_line("its session", |line| {
            line.contains("connected to the server")
        })
        .await?;
    Ok(process)
}

/// Runs a command of the server's executable; what it prints.
async fn server_cli(config: &Path, args: &[&str]) -> Result<String> {
    let mut command = Command::new(binary_beside("ci-tunnel-server")?);
    command.arg("--config").arg(config).args(args);
    let output = command.output().await?;
    ensure!(
        output.status.success(),
        "ci-tunnel-server {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// A program that was built into the directory of the one that runs.
fn binary_beside(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let path = this.with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    ensure!(path.exists(), "{} is not built", path.display());
    Ok(path)
}

fn pid(process: &Process) -> Result<Pid> {
    Ok(Pid(process.id().context("the process has ended")?))
}
