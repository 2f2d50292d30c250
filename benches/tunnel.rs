//! Server and agent before an origin, as processes of their own, started as their users start them.

use std::sync::Arc;

use anyhow::Result;
use ci_tunnel_tests::tunnel::Tunnel as Programs;

use crate::client::{Dial, Target};
use crate::origin::Origin;
use crate::usage::Pid;

/// The running processes; they end when this is dropped.
#[derive(Debug)]
pub struct Tunnel {
    pub target: Arc<Target>,
    pub programs: Programs,
}

/// Everything is as by default but the limits, since one job sends everything here.
pub const SERVER_YAML: &str = "limits: \
    { job: { requests_per_second: 0, concurrent: 0 }, project: { requests_per_second: 0, concurrent: 0 }, \
    agent: { requests_per_second: 0, concurrent: 0 } }";
pub const AGENT: &str = "acme/infra:bench";
pub const RULES: &str = "ci_access: { projects: [{ id: acme/app, access_as: { ci_job: {} } }] }";
/// The job that sends every request, described as fully as jobs are.
#[rustfmt::skip]
const JOB: [&str; 18] = [
    "--project", "acme/app", "--project-id", "7", "--job-id", "42", "--pipeline-id", "41", "--ref", "main",
    "--ref-type", "branch", "--user", "someone", "--user-id", "3", "--ttl", "12h",
];

impl Tunnel {
    pub async fn start(origin: &Origin) -> Result<Self> {
        Self::start_with("tunnel", "", origin).await
    }

    /// With the agent as where UDP is blocked.
    pub async fn start_over_http2(origin: &Origin) -> Result<Self> {
        Self::start_with("tunnel-http2", "transport: http2", origin).await
    }

    async fn start_with(name: &'static str, agent_yaml: &str, origin: &Origin) -> Result<Self> {
        let programs = Programs::builder()
            .server_yaml(SERVER_YAML)
            .agent_yaml(agent_yaml)
            .agent(AGENT, RULES)
            .kubeconfig(&origin.kubeconfig()?)
            .start()
            .await?;
        Self::over(name, programs, origin).await
    }

    /// Over programs that were started some other way, with [`AGENT`] among the agents, [`RULES`] its rules.
    pub async fn over(name: &'static str, programs: Programs, origin: &Origin) -> Result<Self> {
        let agent = programs.status().await?["agents"][0]["id"].clone();
        let credential = format!("ci:{agent}:{}", programs.job_token(&JOB).await?);
        let dial = Dial::Straight(programs.api_addr());
        let target = Target::new(name, dial, programs.ca_pem(), &credential, origin.pid)?;
        let processes = vec![
            ("server", Pid(programs.server().pid()?)),
            ("agent", Pid(programs.agent(0).pid()?)),
        ];
        Ok(Self {
            target: Arc::new(target.with_processes(processes)),
            programs,
        })
    }

    pub fn server(&self) -> Result<Pid> {
        Ok(Pid(self.programs.server().pid()?))
    }

    pub fn agent(&self) -> Result<Pid> {
        Ok(Pid(self.programs.agent(0).pid()?))
    }
}
