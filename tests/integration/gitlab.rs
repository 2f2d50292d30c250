//! GitLab's job tokens, with a stand-in GitLab: who decides, what is remembered, and what ends with a job.

mod abuse;
mod decide;
mod ends;

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use ci_tunnel_tests::apiserver::ApiServer;
use ci_tunnel_tests::client::{Client, Http};
use ci_tunnel_tests::issuer::Issuer;
use ci_tunnel_tests::issuer::jobs::{Job, Jobs};
use ci_tunnel_tests::tunnel::Tunnel;
use http::Response;
use serde_json::{Value, json};
use tempfile::TempDir;

const AGENT: &str = "acme/infra:prod";
/// By which GitLab knows it, and this server too.
const ID: u64 = 4242;
/// Registered here without GitLab's id.
const STRANGER: &str = "acme/infra:test";
/// Lets the jobs in, as themselves.
const CONFIG: &str = "ci_access: { projects: [{ id: acme/team/shop, access_as: { ci_job: {} } }] }";

/// A server that takes the word of a GitLab, and an agent before a stand-in API server.
struct Setup {
    tunnel: Tunnel,
    api: ApiServer,
    gitlab: Issuer,
    jobs: Jobs,
    /// Holds certificates and kubeconfigs.
    _files: TempDir,
}

impl Setup {
    /// `job_tokens`: the settings, as JSON.
    async fn start(job_tokens: Value) -> Result<Self> {
        Self::configured(job_tokens, CONFIG).await
    }

    async fn configured(job_tokens: Value, config: &str) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let gitlab = Issuer::gitlab().await?;
        let jobs = gitlab.jobs();
        let server = Self::server_yaml(&gitlab, &gitlab.ca_file(files.path())?, job_tokens);
        let api = ApiServer::start().await?;
        let kubeconfig: PathBuf = files.path().join("upstream");
        std::fs::write(&kubeconfig, api.kubeconfig())?;
        let tunnel = Tunnel::builder()
            .server_yaml(&server)
            .agent(AGENT, config)
            .id(AGENT, ID)
            .agent(STRANGER, config)
            .kubeconfig(&kubeconfig)
            .start()
            .await?;
        Ok(Self {
            tunnel,
            api,
            gitlab,
            jobs,
            _files: files,
        })
    }

    fn server_yaml(gitlab: &Issuer, ca_file: &std::path::Path, job_tokens: Value) -> String {
        let provider = json!({
            "name": "gitlab",
            "type": "gitlab",
            "url": gitlab.url(),
            "ca_file": ca_file,
            "job_tokens": job_tokens,
        });
        json!({"authn": {"providers": [provider]}}).to_string()
    }

    fn client(&self, token: &str) -> Result<Client> {
        let tunnel = &self.tunnel;
        let bearer = format!("ci:{ID}:{token}");
        Client::new(tunnel.api_addr(), tunnel.ca_pem(), Http::One, &bearer)
    }

    async fn get(&self, token: &str) -> Result<Response<Bytes>> {
        self.client(token)?.get("/small").await
    }

    /// The code that a request with this token gets, and what is said.
    async fn answer(&self, token: &str) -> Result<(u16, String)> {
        let response = self.get(token).await?;
        let code = response.status().as_u16();
        Ok((code, String::from_utf8_lossy(response.body()).into_owned()))
    }

    async fn allowed(&self, token: &str) -> Result<()> {
        let (code, body) = self.answer(token).await?;
        ensure!(code == 200, "{code}: {body}");
        Ok(())
    }

    /// The request is refused with this code, and the message tells this.
    async fn refused(&self, token: &str, code: u16, words: &str) -> Result<()> {
        let (found, body) = self.answer(token).await?;
        ensure!(found == code, "{found} instead of {code}: {body}");
        ensure!(body.contains(words), "nothing of {words:?} in {body}");
        Ok(())
    }

    /// What the audit says of the last request with this token's job.
    async fn audited(&self, job: u64) -> Result<Value> {
        let id = job.to_string();
        let last = |line: &Value| line["job"]["job_id"] == id;
        self.tunnel.audited(last).await
    }
}

/// A usual job that GitLab lets use the agent with this entry.
fn job(configuration: Value) -> Job {
    Job::default().agent(ID, "acme/infra", configuration)
}

fn text(value: &Value, name: &str) -> Result<String> {
    let text = value[name].as_str();
    Ok(text
        .with_context(|| format!("no {name} in {value}"))?
        .to_owned())
}
