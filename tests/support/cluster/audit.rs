//! What the API server says it was asked, and by whom.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use super::Cluster;

/// One line of the audit log.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    /// `ResponseStarted` for what goes on (watch, exec), `ResponseComplete` at the end.
    pub stage: String,
    /// `create` for exec, attach and port-forward over SPDY, `get` over WebSocket.
    pub verb: String,
    /// Path and query.
    #[serde(rename = "requestURI")]
    pub uri: String,
    /// Who authenticated.
    pub user: AuditUser,
    /// Who the request was then carried out as, if somebody else.
    pub impersonated_user: Option<AuditUser>,
    /// What the client calls itself.
    #[serde(default)]
    pub user_agent: String,
    /// The addresses of `X-Forwarded-For`, then the connection's own.
    #[serde(default, rename = "sourceIPs")]
    pub source_ips: Vec<String>,
    /// The answer, once there is one.
    pub response_status: Option<AuditStatus>,
}

/// A user as the API server saw it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct AuditUser {
    /// The name, empty for nobody.
    #[serde(default)]
    pub username: String,
    /// The groups, with those every user is in.
    #[serde(default)]
    pub groups: Vec<String>,
    /// What else came with the credential, or with `Impersonate-Extra-` headers.
    #[serde(default)]
    pub extra: BTreeMap<String, Vec<String>>,
}

/// How a request was answered.
#[derive(Clone, Debug, Deserialize)]
pub struct AuditStatus {
    /// The HTTP status; 101 for streams.
    #[serde(default)]
    pub code: u16,
}

impl Cluster {
    /// The audit log, one JSON object a line.
    pub fn audit_log(&self) -> &Path {
        &self.audit_log
    }

    /// The events so far that `wanted` says yes to, oldest first. A plain request is there before
    /// its caller has the whole answer; for a stream (watch, exec) use [`Self::audited`].
    pub fn audit(&self, wanted: impl Fn(&AuditEvent) -> bool) -> Result<Vec<AuditEvent>> {
        let log = fs::read_to_string(&self.audit_log).context("reading the audit log")?;
        // The last line may be in the middle of being written.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let mut events = Vec::new();
        for line in whole.lines() {
            let event = serde_json::from_str(line).with_context(|| format!("parsing {line}"))?;
            if wanted(&event) {
                events.push(event);
            }
        }
        Ok(events)
    }
    /// The first event that `wanted` says yes to, waiting for it.
    pub async fn audited(&self, wanted: impl Fn(&AuditEvent) -> bool) -> Result<AuditEvent> {
        let found = async {
            loop {
                if let Some(event) = self.audit(&wanted)?.into_iter().next() {
                    return Ok(event);
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(DEADLINE, found)
            .await
            .context("no such event in the audit log")?
    }
}

const DEADLINE: Duration = Duration::from_secs(10);
