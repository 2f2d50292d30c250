//! What is known of one request; becomes a line when it is dropped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ci_tunnel::protocol::identity::KubernetesIdentity;
use jiff::Timestamp;
use serde::Serialize;

use super::sink::Audit;
use crate::identity::{Agent, JobIdentity};
use crate::metrics::RequestLabels;

/// The record of one request, open from its first byte. Dropping it writes the line, so that no way of ending is
/// forgotten.
#[derive(Debug)]
pub struct Record {
    audit: Audit,
    started: Instant,
    line: Line,
    /// Bytes of the request's body, counted by whoever uploads it.
    sent: Arc<AtomicU64>,
    ended: bool,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The whole response was delivered.
    Complete,
    /// This server refused it; the reason is the refusal's.
    Refused(&'static str),
    /// The client went away before the end.
    ClientGone,
    /// This server ended it; the reason says why.
    Cut(String),
    /// The agent or the API server broke off.
    Broken(String),
}

#[derive(Debug, Serialize)]
struct Line {
    time: Timestamp,
    request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<AgentFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<Arc<JobIdentity>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    method: String,
    path: String,
    #[serde(flatten)]
    attributes: Option<AttributeFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes: Option<KubernetesFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upgrade: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    bytes_up: u64,
    bytes_down: u64,
    duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    end: Ending,
}

#[derive(Debug, Serialize)]
struct AgentFields {
    id: u64,
    name: String,
}

/// The API server's words for what is asked.
#[derive(Debug, Serialize)]
struct AttributeFields {
    verb: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    subresource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
}

#[derive(Debug, Serialize)]
struct KubernetesFields {
    r#as: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<String>,
}

/// Most lines are shorter than this many bytes.
const USUAL_LINE: usize = 2048;
/// Names and paths longer than this are cut in the line.
const MAX_TEXT: usize = 4096;

impl Record {
    pub(super) fn new(audit: Audit, request_id: String, client: Option<SocketAddr>) -> Self {
        Self {
            audit,
            started: Instant::now(),
            line: Line {
                time: Timestamp::now(),
                request_id,
                client,
                user_agent: None,
                agent: None,
                job: None,
                token: None,
                method: String::new(),
                path: String::new(),
                attributes: None,
                rule: None,
                kubernetes: None,
                upgrade: None,
                session: None,
                status: None,
                bytes_up: 0,
                bytes_down: 0,
                duration_ms: 0,
                message: None,
                end: Ending::ClientGone,
            },
            sent: Arc::default(),
            ended: false,
        }
    }

    pub fn request_id(&self) -> &str {
        &self.line.request_id
    }

    pub fn request(&mut self, method: &http::Method, path: &str, user_agent: Option<&str>) {
        method.as_str().clone_into(&mut self.line.method);
        self.line.path = cut(path);
        self.line.user_agent = user_agent.map(cut);
    }

    pub fn attributes(&mut self, attributes: &ci_tunnel::kube::Attributes) {
        self.line.attributes = Some(AttributeFields {
            verb: attributes.verb.to_string(),
            api_group: cut(&attributes.api_group),
            resource: cut(&attributes.resource),
            subresource: cut(&attributes.subresource),
            namespace: cut(&attributes.namespace),
            name: cut(&attributes.name),
        });
    }

    pub fn job(&mut self, job: &Arc<JobIdentity>, token: &str) {
        self.line.job = Some(Arc::clone(job));
        self.line.token = Some(token.to_owned());
    }

    pub fn agent(&mut self, agent: &Agent) {
        self.line.agent = Some(AgentFields {
            id: agent.id.0,
            name: agent.to_string(),
        });
    }

    pub fn permit(&mut self, rule: String, identity: &KubernetesIdentity) {
        self.line.rule = Some(rule);
        self.line.kubernetes = Some(match identity {
            KubernetesIdentity::Agent => KubernetesFields {
                r#as: "agent".to_owned(),
                groups: Vec::new(),
            },
            KubernetesIdentity::Impersonate(who) => KubernetesFields {
                r#as: who.username.clone(),
                groups: who.groups.clone(),
            },
        });
    }

    pub fn session(&mut self, session: u64) {
        self.line.session = Some(session);
    }

    pub fn upgrade(&mut self, protocol: &str) {
        self.line.upgrade = Some(cut(protocol));
    }

    /// The head of the response is known.
    pub fn status(&mut self, status: u16) {
        self.line.status = Some(status);
        self.audit
            .metrics()
            .request_head_seconds
            .observe(self.started.elapsed().as_secs_f64());
    }

    /// The counter of the request body's bytes.
    pub fn sent(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.sent)
    }

    pub fn received(&mut self, bytes: u64) {
        self.line.bytes_down += bytes;
    }

    /// Says how the request ended; the first word stands.
    pub fn end(&mut self, ending: Ending, message: Option<String>) {
        if !self.ended {
            self.ended = true;
            self.line.end = ending;
            self.line.message = message.map(|message| cut(&message));
        }
    }

    fn count(&self) {
        let metrics = self.audit.metrics();
        let labels = RequestLabels {
            agent: self
                .line
                .agent
                .as_ref()
                .map(|agent| agent.name.clone())
                .unwrap_or_default(),
            code: self.line.status.unwrap_or(0),
        };
        metrics.requests.get_or_create(&labels).inc();
        metrics.bytes_up.inc_by(self.line.bytes_up);
        metrics.bytes_down.inc_by(self.line.bytes_down);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.line.bytes_up = self.sent.load(Ordering::Relaxed);
        self.line.duration_ms =
            u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.count();
        let mut line = Vec::with_capacity(USUAL_LINE);
        match serde_json::to_writer(&mut line, &self.line) {
            Ok(()) => {
                line.push(b'\n');
                self.audit.write(line);
            }
            Err(error) => tracing::error!(%error, "an audit line could not be made"),
        }
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
