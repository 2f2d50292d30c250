//! `/status` on the ops port: agents, their sessions, their rules and problems, as JSON.

use std::sync::Arc;
use std::time::SystemTime;

use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

use crate::agents::directory::Directory;
use crate::agents::{Registry, Session};
use crate::configrepo::{AgentRules, Snapshot, Unread};
use crate::identity::Agent;

/// What the page shows.
#[derive(Debug, Clone)]
pub struct Status {
    pub directory: Directory,
    pub registry: Registry,
    pub rules: watch::Receiver<Arc<Snapshot>>,
}

#[derive(Debug, Serialize)]
struct Page {
    version: &'static str,
    agents: Vec<AgentStatus>,
}

#[derive(Debug, Serialize)]
struct AgentStatus {
    id: u64,
    name: String,
    connected: bool,
    sessions: Vec<SessionStatus>,
    configuration: Option<ConfigurationStatus>,
}

#[derive(Debug, Serialize)]
struct SessionStatus {
    id: u64,
    since: Option<Timestamp>,
    peer: String,
    transport: &'static str,
    version: String,
    pod: Option<String>,
    kubernetes_version: Option<String>,
    running_requests: usize,
    round_trip_ms: u64,
    held_bytes: u64,
    draining: bool,
    /// What is known against it: requests go to other sessions of the agent, if there are any.
    trouble: Option<String>,
    api_server_ready: bool,
    api_server: String,
}

#[derive(Debug, Serialize)]
struct ConfigurationStatus {
    file: String,
    revision: String,
    commit: Option<String>,
    provider: Option<String>,
    problem: Option<String>,
    warnings: Vec<String>,
}

impl Status {
    /// The routes that the ops port adds to its own.
    pub fn routes(self) -> Router {
        Router::new().route(
            "/status",
            get(move || std::future::ready(Json(self.page()))),
        )
    }

    fn page(&self) -> Page {
        let rules = self.rules.borrow().clone();
        let agents = self
            .directory
            .all()
            .iter()
            .map(|agent| self.agent(agent, &rules))
            .collect();
        Page {
            version: env!("CARGO_PKG_VERSION"),
            agents,
        }
    }

    fn agent(&self, agent: &Agent, rules: &Snapshot) -> AgentStatus {
        let sessions: Vec<_> = self
            .registry
            .sessions(agent.id)
            .iter()
            .map(|session| session_status(session))
            .collect();
        let configuration = rules
            .rules(&agent.project, &agent.name)
            .map(ConfigurationStatus::of)
            .or_else(|| rules.hidden(agent).map(ConfigurationStatus::hidden));
        AgentStatus {
            id: agent.id.0,
            name: agent.to_string(),
            connected: !sessions.is_empty(),
            sessions,
            configuration,
        }
    }
}

impl ConfigurationStatus {
    fn of(rules: &AgentRules) -> Self {
        Self {
            file: rules.file.display().to_string(),
            revision: rules.revision.clone(),
            commit: rules.commit.clone(),
            provider: rules.provider.clone(),
            problem: rules.problem.clone(),
            warnings: rules.rules.warnings().to_vec(),
        }
    }

    fn hidden(unread: &Unread) -> Self {
        Self {
            file: unread.directory.display().to_string(),
            revision: String::new(),
            commit: None,
            provider: None,
            problem: Some(unread.problem.clone()),
            warnings: Vec::new(),
        }
    }
}

fn session_status(session: &Session) -> SessionStatus {
    let health = session.health();
    SessionStatus {
        id: session.id,
        since: timestamp(session.since),
        peer: session.remote_address().to_string(),
        transport: session.connection().transport().name(),
        version: session.hello.version.clone(),
        pod: session.hello.pod.clone(),
        kubernetes_version: session.hello.kubernetes_version.clone(),
        running_requests: session.running(),
        round_trip_ms: u64::try_from(session.connection().rtt().as_millis()).unwrap_or(u64::MAX),
        held_bytes: session
            .connection()
            .credit()
            .map_or(0, |credit| credit.held_bytes()),
        draining: !session.accepts(),
        trouble: session.standing.words(),
        api_server_ready: health.ready,
        api_server: health.message,
    }
}

fn timestamp(time: SystemTime) -> Option<Timestamp> {
    Timestamp::try_from(time).ok()
}
