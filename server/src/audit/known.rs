//! What the lines of many requests have in common, made once: the agent, the job, the rule, as whom.

use std::sync::OnceLock;

use ci_tunnel::protocol::identity::KubernetesIdentity;
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;

use super::line::{AgentFields, KubernetesRef};
use crate::identity::{Agent, JobIdentity};
use crate::metrics::{Metrics, RequestLabels};

/// Of requests that were let in by one decision.
#[derive(Debug)]
pub struct Known {
    /// Fields of a JSON object, each behind a comma.
    fields: Vec<u8>,
    agent: String,
    /// The counter of the status that nearly all of them have.
    usual: OnceLock<(u16, Counter)>,
}

/// What a decision was about, and what it was.
#[derive(Debug)]
pub struct Decision<'a> {
    pub agent: &'a Agent,
    pub job: &'a JobIdentity,
    /// The id of the credential.
    pub token: &'a str,
    /// The ids of those that it was got with.
    pub parents: Vec<&'a str>,
    /// The entry of the agent's configuration that decided, and that configuration's version.
    pub rule: &'a str,
    pub revision: &'a str,
    pub identity: &'a KubernetesIdentity,
}

/// Named as in [`super::Line`].
#[derive(Serialize)]
struct Fields<'a> {
    agent: &'a AgentFields,
    job: &'a JobIdentity,
    token: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    parents: &'a [&'a str],
    rule: &'a str,
    revision: &'a str,
    kubernetes: KubernetesRef<'a>,
}

impl From<&Decision<'_>> for Known {
    fn from(decision: &Decision<'_>) -> Self {
        let agent = AgentFields::from(decision.agent);
        let fields = Fields {
            agent: &agent,
            job: decision.job,
            token: decision.token,
            parents: &decision.parents,
            rule: decision.rule,
            revision: decision.revision,
            kubernetes: KubernetesRef::from(decision.identity),
        };
        let mut fields = serde_json::to_vec(&fields).expect("texts, numbers and lists are JSON");
        fields.pop();
        if let Some(first) = fields.first_mut() {
            *first = b',';
        }
        Self {
            fields,
            agent: agent.name,
            usual: OnceLock::new(),
        }
    }
}

impl Known {
    pub(super) fn fields(&self) -> &[u8] {
        &self.fields
    }

    /// Counts a request that ended with this status.
    pub(super) fn count(&self, metrics: &Metrics, code: u16) {
        let counter = || {
            let labels = RequestLabels {
                agent: self.agent.clone(),
                code,
            };
            metrics.requests.get_or_create_owned(&labels)
        };
        match self.usual.get_or_init(|| (code, counter())) {
            (usual, requests) if *usual == code => requests.inc(),
            _ => counter().inc(),
        };
    }
}
