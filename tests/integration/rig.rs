//! What the tests here start from: server and agent as programs, and a stand-in API server behind them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ci_tunnel_tests::apiserver::{ApiServer, Options};
use ci_tunnel_tests::client::{Client, Http, Raw};
use ci_tunnel_tests::relay::Relay;
use ci_tunnel_tests::tunnel::{Builder, Tunnel};
use serde_json::Value;
use tempfile::TempDir;

/// Both versions that clients may speak.
pub const BOTH: [Http; 2] = [Http::One, Http::Two];
/// The agent.
pub const AGENT: &str = "acme/infra:prod";
/// Lets the jobs of `acme/shop` in, as themselves.
pub const CONFIG: &str = "ci_access: { projects: [{ id: acme/shop, access_as: { ci_job: {} } }] }";
/// How soon one end must know that the other is gone.
pub const SOON: Duration = Duration::from_secs(1);

/// A tunnel to a stand-in, and a job that may use it.
#[derive(Debug)]
pub struct Rig {
    pub tunnel: Tunnel,
    pub api: ApiServer,
    /// The job's credential alone.
    pub job: String,
    agent: u64,
    /// Holds the agent's kubeconfig.
    _files: TempDir,
}

impl Rig {
    pub async fn start() -> Result<Self> {
        Self::with("", "").await
    }

    /// With these keys in `server.yaml` and `agent.yaml`.
    pub async fn with(server_yaml: &str, agent_yaml: &str) -> Result<Self> {
        Self::configured(CONFIG, server_yaml, agent_yaml).await
    }

    /// With this file of the agent's configuration.
    pub async fn configured(config: &str, server_yaml: &str, agent_yaml: &str) -> Result<Self> {
        let builder = Tunnel::builder().agent(AGENT, config);
        Self::built(builder.server_yaml(server_yaml).agent_yaml(agent_yaml)).await
    }

    /// With this network between server and agent.
    pub async fn behind(relay: &Relay, server_yaml: &str, agent_yaml: &str) -> Result<Self> {
        let builder = Tunnel::builder().agent(AGENT, CONFIG).relay(relay);
        Self::built(builder.server_yaml(server_yaml).agent_yaml(agent_yaml)).await
    }

    /// With an agent that is not expected to find its server.
    pub async fn unconnected(agent_yaml: &str) -> Result<Self> {
        let builder = Tunnel::builder().agent(AGENT, CONFIG).do_not_wait();
        Self::built(builder.agent_yaml(agent_yaml)).await
    }

    async fn built(builder: Builder<'_>) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let api = ApiServer::start().await?;
        let kubeconfig = files.path().join("upstream");
        std::fs::write(&kubeconfig, api.kubeconfig())?;
        let tunnel = builder.kubeconfig(&kubeconfig).start().await?;
        let job = tunnel.job_token(&JOB).await?;
        let agent = agent_id(&tunnel.cli(&["agent", "show", AGENT, "--json"]).await?)?;
        Ok(Self {
            tunnel,
            api,
            job,
            agent,
            _files: files,
        })
    }

    /// What the job puts behind `Bearer`.
    pub fn bearer(&self) -> String {
        self.bearer_of(&self.job)
    }

    pub fn bearer_of(&self, job: &str) -> String {
        format!("ci:{}:{job}", self.agent)
    }

    pub fn client(&self, http: Http) -> Result<Client> {
        self.client_as(http, &self.bearer())
    }

    pub fn client_as(&self, http: Http, bearer: &str) -> Result<Client> {
        let tunnel = &self.tunnel;
        Client::new(tunnel.api_addr(), tunnel.ca_pem(), http, bearer)
    }

    /// A connection on which nothing was written yet.
    pub async fn raw(&self) -> Result<Raw> {
        Raw::connect(self.tunnel.api_addr(), self.tunnel.ca_pem(), "http/1.1").await
    }

    /// The lines that begin a request over HTTP/1.1, less the last, empty one.
    pub fn head(&self, line: &str) -> String {
        let (host, bearer) = (self.tunnel.api_addr(), self.bearer());
        format!("{line} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {bearer}\r\n")
    }

    /// Registers an agent that nobody starts and that has no configuration; its id.
    pub async fn another_agent(&self, name: &str) -> Result<u64> {
        agent_id(
            &self
                .tunnel
                .cli(&["agent", "create", name, "--json"])
                .await?,
        )
    }

    /// Makes a job token void.
    pub async fn revoke(&self, job: &str) -> Result<()> {
        let payload = job.split('.').nth(1).context("a token of three parts")?;
        let payload = URL_SAFE_NO_PAD
            .decode(payload)
            .context("a token's claims")?;
        let claims: Value = serde_json::from_slice(&payload)?;
        let id = claims["jti"].as_str().context("a token's id")?;
        let revoke = ["job-token", "revoke", id];
        self.tunnel.cli(&revoke).await.map(drop)
    }

    /// Starts another API server where the one that is dropped here was; it is a stranger to the agent.
    pub async fn replace_api(&mut self) -> Result<()> {
        let listen = self.api.addr();
        self.stop_api().await;
        let options = Options {
            listen,
            ..Options::default()
        };
        self.api = ApiServer::start_with(options).await?;
        Ok(())
    }

    /// Ends the API server: connections to its address are refused from now on.
    pub async fn stop_api(&mut self) {
        self.api.stop().await;
    }

    /// A KUBECONFIG of the job for its agent.
    pub async fn kubeconfig(&self) -> Result<PathBuf> {
        self.tunnel.kubeconfig(&self.job, "").await
    }
}

fn agent_id(shown: &str) -> Result<u64> {
    let shown: Value = serde_json::from_str(shown)?;
    shown["id"].as_u64().context("the agent's id")
}

/// The flags of the job.
pub const JOB: [&str; 6] = ["--project", "acme/shop", "--job-id", "7", "--user", "ann"];
