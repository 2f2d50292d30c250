//! Server and agent as the programs they are, with files, tokens and ports of their own.
//!
//! ```no_run
//! # async fn test() -> anyhow::Result<()> {
//! # use ci_tunnel_tests::{cluster::Cluster, tunnel::Tunnel};
//! let cluster = Cluster::shared().await?;
//! let tunnel = Tunnel::builder()
//!     .server_yaml("timeouts: { hold: 5s }")
//!     .agent("acme/infra:prod", "ci_access: { projects: [{ id: acme/shop }] }")
//!     .cluster(cluster)
//!     .start()
//!     .await?;
//! let token = tunnel.job_token(&["--project", "acme/shop"]).await?;
//! let kubeconfig = tunnel.kubeconfig(&token, "").await?;
//! tunnel.kubectl(&kubeconfig).run(["get", "pods"]).await?;
//! # Ok(()) }
//! ```
//!
//! Nothing of it belongs to a runtime: a tunnel in a static may be shared by all tests of a process. Its programs and files
//! are gone when it is dropped, or when the test process ends, however that happens.

mod account;
mod ask;
mod builder;
mod credentials;
mod files;
mod program;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::time::sleep;

pub use self::account::{Account, grant};
pub use self::builder::Builder;
pub use self::program::Program;
use crate::cluster::folder::Folder;
use crate::deadline::{within, within_time};
use crate::process::Signal;

/// A server and its agents, running.
#[derive(Debug)]
pub struct Tunnel {
    // The programs end before the folder goes.
    server: Program,
    agents: Vec<Program>,
    replicas: std::sync::Mutex<Vec<Program>>,
    names: Vec<String>,
    addresses: Addresses,
    ca_pem: String,
    programs: files::Programs,
    files: AtomicUsize,
    logs: PathBuf,
    folder: Folder,
}

#[derive(Debug, Clone, Copy)]
struct Addresses {
    kubernetes_api: SocketAddr,
    agents: SocketAddr,
    ops: SocketAddr,
}

impl Tunnel {
    pub fn builder<'a>() -> Builder<'a> {
        Builder::default()
    }

    pub fn server(&self) -> &Program {
        &self.server
    }

    /// The process of the agent that was named as number `index`.
    pub fn agent(&self, index: usize) -> &Program {
        &self.agents[index]
    }

    /// Starts one more process for the agent `name`, a replica of it. It ends with the tunnel, or with
    /// [`Self::stop_replicas`].
    pub async fn start_agent(&self, name: &str) -> Result<()> {
        let index = self.index(name)?;
        let number = self.number();
        let replica = self.agents[index].again(&self.logs.join(format!("replica-{number}.log")));
        replica.start().await?;
        self.replicas.lock().unwrap().push(replica);
        Ok(())
    }

    /// Asks the first of those that [`Self::start_agent`] started to end, and waits until it has.
    pub async fn end_replica(&self) -> Result<()> {
        let replica = {
            let mut replicas = self.replicas.lock().unwrap();
            ensure!(!replicas.is_empty(), "there is no replica");
            replicas.remove(0)
        };
        replica.term()?;
        let status = replica.wait(REPLICA_END).await?;
        ensure!(status.success(), "{status}: {}", replica.tail(TAIL));
        Ok(())
    }

    /// The agent token of the agent that was named as number `index`.
    pub fn agent_token(&self, index: usize) -> Result<String> {
        let file = self.folder.path(&format!("agent-{index}.token"));
        std::fs::read_to_string(file).context("the agent's token")
    }

    /// Kills what [`Self::start_agent`] started.
    pub fn stop_replicas(&self) {
        self.replicas.lock().unwrap().clear();
    }

    /// Replaces the configuration file of the agent `name`, at once as a whole.
    pub fn write_config(&self, name: &str, yaml: &str) -> Result<()> {
        let file = files::config_file(&self.folder, name)?;
        files::replace(&file, yaml)
    }

    /// Puts these keys over those of the server's file, and asks the server to read it again.
    pub fn reload(&self, server_yaml: &str) -> Result<()> {
        files::change_server_yaml(&self.folder, server_yaml)?;
        self.server.signal(Signal::Hup)
    }

    /// Where clients of the Kubernetes API connect.
    pub fn api_addr(&self) -> SocketAddr {
        self.addresses.kubernetes_api
    }

    /// Where agents connect, over UDP.
    pub fn agents_addr(&self) -> SocketAddr {
        self.addresses.agents
    }

    pub fn ops_addr(&self) -> SocketAddr {
        self.addresses.ops
    }

    /// The authority that signed the server's certificate.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The folder of the server's state.
    pub fn state_dir(&self) -> PathBuf {
        self.folder.path(files::STATE)
    }

    /// Runs the server's command line on its configuration, and returns what it prints.
    pub async fn cli(&self, arguments: &[&str]) -> Result<String> {
        files::cli(&self.programs.server, &self.folder, arguments).await
    }

    /// Runs the server's command line on its configuration; how it ended, and what it printed.
    pub async fn cli_ran(&self, arguments: &[&str]) -> Result<(Option<i32>, String)> {
        files::cli_ran(&self.programs.server, &self.folder, arguments).await
    }

    /// The whole lines of the server's audit log.
    pub fn audit_lines(&self) -> Result<Vec<Value>> {
        let log =
            std::fs::read_to_string(self.state_dir().join("audit.log")).context("the audit log")?;
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let parse = |line| serde_json::from_str(line).with_context(|| format!("audit line {line}"));
        whole.lines().map(parse).collect()
    }

    /// The first audit line that `wanted` says yes to, waiting for it.
    pub async fn audited(&self, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let found = async {
            loop {
                if let Some(line) = self.audit_lines()?.into_iter().find(&wanted) {
                    return Ok(line);
                }
                sleep(POLL).await;
            }
        };
        within("such a line in the server's audit log", found).await?
    }

    /// The server's metrics, as text.
    pub async fn metrics(&self) -> Result<String> {
        ask::get(self.ops_addr(), "/metrics").await
    }

    /// The value of the series whose name and labels begin so; 0 when there is none.
    pub async fn metric(&self, series: &str) -> Result<f64> {
        metric_at(self.ops_addr(), series).await
    }

    /// The server's `/status`.
    pub async fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(
            &ask::get(self.ops_addr(), "/status").await?,
        )?)
    }

    /// Waits until the agent `name` is connected and its API server answers it. After an agent was killed, the server may
    /// hold on to its lost session for some seconds: [`Self::wait_sessions`] then.
    pub async fn wait_connected(&self, name: &str) -> Result<()> {
        let what = format!("{name} to be connected");
        self.wait_status(&what, |status| usable(status, name) >= 1)
            .await
    }

    /// Waits until the agent `name` has exactly this many sessions that take requests.
    pub async fn wait_sessions(&self, name: &str, count: usize) -> Result<()> {
        let what = format!("{count} usable sessions of {name}");
        self.wait_status(&what, |status| usable(status, name) == count)
            .await
    }

    /// Waits until `/status` is as `wanted`.
    pub async fn wait_status(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<()> {
        let reached = async {
            loop {
                // A server that is being restarted does not answer.
                if self.status().await.is_ok_and(|status| wanted(&status)) {
                    return;
                }
                sleep(POLL).await;
            }
        };
        within_time(RECONNECT, what, reached).await
    }

    /// Kills the server and starts it again on the same ports.
    pub async fn restart_server(&self) -> Result<()> {
        self.server.restart().await?;
        files::addresses(&self.server).map(drop)
    }

    /// The folder of the programs' logs.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// The end of each program's log, for people.
    pub fn last_words(&self) -> String {
        let replicas = self.replicas.lock().unwrap();
        let programs = [&self.server]
            .into_iter()
            .chain(&self.agents)
            .chain(&*replicas);
        programs.map(|program| program.tail(TAIL)).collect()
    }

    fn index(&self, name: &str) -> Result<usize> {
        let position = self.names.iter().position(|known| known == name);
        position.with_context(|| format!("the tunnel was started without an agent {name}"))
    }

    fn number(&self) -> usize {
        self.files.fetch_add(1, Ordering::Relaxed)
    }

    fn temp(&self, name: &str) -> PathBuf {
        self.folder.path(&format!("{}-{name}", self.number()))
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.last_words());
        }
    }
}

/// The value of a series of whatever program has its ops port there, as [`Tunnel::metric`].
pub async fn metric_at(ops: SocketAddr, series: &str) -> Result<f64> {
    let text = ask::get(ops, "/metrics").await?;
    let Some(line) = text.lines().find(|line| line.starts_with(series)) else {
        return Ok(0.0);
    };
    let value = line.rsplit(' ').next().unwrap_or_default();
    value.parse().with_context(|| format!("metric {line}"))
}

fn usable(status: &Value, name: &str) -> usize {
    let agents = status["agents"].as_array().into_iter().flatten();
    let sessions = agents
        .filter(|agent| agent["name"] == name)
        .filter_map(|agent| agent["sessions"].as_array())
        .flatten();
    sessions
        .filter(|session| session["draining"] == false && session["api_server_ready"] == true)
        .count()
}

const POLL: Duration = Duration::from_millis(20);
/// An agent whose server or API server was away comes back in steps of some seconds.
const RECONNECT: Duration = Duration::from_secs(30);
const TAIL: usize = 40;
const REPLICA_END: Duration = Duration::from_secs(20);
