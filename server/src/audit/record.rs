//! What is known of one request; becomes a line when it is dropped.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ci_tunnel::protocol::code::Code;
use jiff::Timestamp;

use super::known::Known;
use super::line::{Ending, Issued, Line};
use super::queue::Weight;
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
    /// What the decision says, as JSON already.
    known: Option<Arc<Known>>,
    /// Bytes of the request's body, counted by whoever uploads it.
    sent: Arc<AtomicU64>,
    ended: bool,
    /// Whether the request may run; one that may not has no line of its own.
    may_run: bool,
    /// Whether it has a line of its own; where not, it is counted elsewhere.
    said: bool,
}

/// Most lines are shorter than this many bytes.
const USUAL_LINE: usize = 2048;
/// Names and paths longer than this are cut in the line.
const MAX_TEXT: usize = 4096;

impl Record {
    pub(super) fn new(audit: Audit, request_id: String, client: Option<SocketAddr>) -> Self {
        Self {
            may_run: audit.queue().is_open(),
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
                parents: Vec::new(),
                issued: Vec::new(),
                method: String::new(),
                path: String::new(),
                verb: None,
                api_group: String::new(),
                resource: String::new(),
                subresource: String::new(),
                namespace: String::new(),
                name: String::new(),
                rule: None,
                revision: None,
                upgrade: None,
                session: None,
                status: None,
                bytes_up: 0,
                bytes_down: 0,
                duration_ms: 0,
                end: Ending::ClientGone,
                code: None,
                message: None,
                kubernetes: None,
            },
            known: None,
            sent: Arc::default(),
            ended: false,
            said: true,
        }
    }

    /// Whether the request may run: not so while lines can not be written and the configuration says to refuse.
    pub fn may_run(&self) -> bool {
        self.may_run
    }

    pub fn request_id(&self) -> &str {
        &self.line.request_id
    }

    pub fn request(&mut self, method: &http::Method, path: &str, user_agent: Option<&str>) {
        self.line.method = cut(method.as_str());
        self.line.path = cut(path);
        self.line.user_agent = user_agent.map(cut);
    }

    pub fn attributes(&mut self, attributes: ci_tunnel::kube::Attributes) {
        let line = &mut self.line;
        // Of a method that nobody knows, it is the method.
        line.verb = Some(match attributes.verb {
            Cow::Owned(verb) => Cow::Owned(shortened(verb)),
            known => known,
        });
        line.api_group = shortened(attributes.api_group);
        line.resource = shortened(attributes.resource);
        line.subresource = shortened(attributes.subresource);
        line.namespace = shortened(attributes.namespace);
        line.name = shortened(attributes.name);
    }

    /// Whose request it is, by which credential, and with which that was got.
    pub fn job<'a>(
        &mut self,
        job: &Arc<JobIdentity>,
        token: &str,
        parents: impl Iterator<Item = &'a str>,
    ) {
        self.line.job = Some(Arc::clone(job));
        self.line.token = Some(token.to_owned());
        self.line.parents = parents.map(str::to_owned).collect();
    }

    /// Which credentials the job was given.
    pub fn issued(&mut self, issued: Vec<Issued>) {
        self.line.issued = issued;
    }

    /// Which agent is asked for, and by which version of its configuration it is decided.
    pub fn agent(&mut self, agent: &Agent, revision: &str) {
        self.line.agent = Some(agent.into());
        self.line.revision = Some(revision.to_owned());
    }

    /// The job may use the agent: what is known of both then, and as whom it acts.
    pub fn known(&mut self, known: &Arc<Known>) {
        let line = &mut self.line;
        (line.agent, line.revision, line.job, line.token) = (None, None, None, None);
        line.parents = Vec::new();
        self.known = Some(Arc::clone(known));
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

    /// With which code of the protocol a request is about to be broken off.
    pub fn code(&mut self, code: &'static str) {
        if !self.ended {
            self.line.code = Some(code.into());
        }
    }

    /// Says how the request ended; the first word stands.
    pub fn end(&mut self, ending: Ending, message: Option<String>) {
        if !self.ended {
            self.ended = true;
            self.line.end = ending;
            self.line.message = message.map(|message| cut(&message));
        }
    }

    /// Says that this server ends the request, why, and with which code it resets the agent's stream.
    pub fn cut(&mut self, reason: &str, code: Code, message: Option<String>) {
        self.code(code.name());
        self.end(Ending::Cut(reason.to_owned()), message);
    }

    /// The request has no line: it is one of too many of a stranger.
    pub fn leave_unsaid(&mut self) {
        self.said = false;
    }

    pub fn is_said(&self) -> bool {
        self.said
    }

    fn count(&self) {
        let metrics = self.audit.metrics();
        let code = self.line.status.unwrap_or(0);
        if let Some(known) = &self.known {
            known.count(metrics, code);
        } else {
            let agent = self.line.agent.as_ref();
            let agent = agent.map(|agent| agent.name.clone()).unwrap_or_default();
            let labels = RequestLabels { agent, code };
            metrics.requests.get_or_create(&labels).inc();
        }
        metrics.bytes_up.inc_by(self.line.bytes_up);
        metrics.bytes_down.inc_by(self.line.bytes_down);
    }

    fn text(&self) -> serde_json::Result<Vec<u8>> {
        let mut line = Vec::with_capacity(USUAL_LINE);
        serde_json::to_writer(&mut line, &self.line)?;
        if let Some(known) = &self.known {
            line.pop();
            line.extend_from_slice(known.fields());
            line.push(b'}');
        }
        line.push(b'\n');
        Ok(line)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.line.bytes_up = self.sent.load(Ordering::Relaxed);
        self.line.duration_ms =
            u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.count();
        if !self.may_run {
            return self.audit.queue().refuse();
        }
        if !self.said {
            return;
        }
        match self.text() {
            Ok(line) => self.audit.write(&line, Weight::Owed),
            Err(error) => {
                tracing::error!(%error, "an audit line could not be made");
                self.audit.metrics().audit_lost.inc();
                self.audit.queue().lose();
            }
        }
    }
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}

fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text
}
