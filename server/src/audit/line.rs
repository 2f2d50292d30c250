//! The line of a request: the same fields for whoever writes it and whoever reads it again.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use ci_tunnel::protocol::identity::KubernetesIdentity;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::identity::{Agent, AgentId, JobIdentity};

/// What is known of a request when it ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// When the request came.
    pub time: Timestamp,
    pub request_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<SocketAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentFields>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Arc<JobIdentity>>,
    /// The id of the credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The ids of those that it was got with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<String>,
    /// What the job was given in a KUBECONFIG.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issued: Vec<Issued>,
    pub method: String,
    /// Without the query.
    pub path: String,
    /// The API server's words for what is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verb: Option<Cow<'static, str>>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub api_group: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subresource: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The entry of the agent's configuration that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The version of that configuration; empty without a good file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<String>,
    /// The agent's session that carried it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    pub bytes_up: u64,
    pub bytes_down: u64,
    pub duration_ms: u64,
    pub end: Ending,
    /// With which code of the protocol a request was cut or broken; `lost` where the agent's connection broke without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Cow<'static, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// As whom the request ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<Kubernetes>,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The whole response was delivered.
    Complete,
    /// This server refused it; the reason is the refusal's.
    Refused(Cow<'static, str>),
    /// The client went away before the end.
    ClientGone,
    /// This server ended it; the reason says why.
    Cut(String),
    /// The agent or the API server broke off.
    Broken(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentFields {
    pub id: AgentId,
    /// `<configuration project>:<agent name>`.
    pub name: String,
}

/// A credential that was issued: for which agent, and its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    pub agent: AgentFields,
    pub token: String,
}

/// As whom a request runs in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kubernetes {
    /// The impersonated user; `agent` for the agent's own service account.
    pub r#as: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

/// The same without copies of the texts, for writing.
#[derive(Debug, Serialize)]
pub(super) struct KubernetesRef<'a> {
    r#as: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    groups: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: BTreeMap<&'a str, Vec<&'a str>>,
}

impl Ending {
    /// One word: `complete`, `refused`, `client_gone`, `cut` or `broken`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Refused(_) => "refused",
            Self::ClientGone => "client_gone",
            Self::Cut(_) => "cut",
            Self::Broken(_) => "broken",
        }
    }

    /// Why, if it ended before its time.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused(reason) => Some(reason),
            Self::Cut(reason) | Self::Broken(reason) => Some(reason),
            Self::Complete | Self::ClientGone => None,
        }
    }
}

impl From<&Agent> for AgentFields {
    fn from(agent: &Agent) -> Self {
        Self {
            id: agent.id,
            name: agent.to_string(),
        }
    }
}

impl From<&KubernetesIdentity> for Kubernetes {
    fn from(identity: &KubernetesIdentity) -> Self {
        let KubernetesRef {
            r#as,
            uid,
            groups,
            extra,
        } = identity.into();
        let owned = |(key, values): (&str, Vec<&str>)| {
            (
                key.to_owned(),
                values.into_iter().map(str::to_owned).collect(),
            )
        };
        Self {
            r#as: r#as.to_owned(),
            uid: uid.map(str::to_owned),
            groups: groups.to_vec(),
            extra: extra.into_iter().map(owned).collect(),
        }
    }
}

impl<'a> From<&'a KubernetesIdentity> for KubernetesRef<'a> {
    fn from(identity: &'a KubernetesIdentity) -> Self {
        match identity {
            KubernetesIdentity::Agent => Self {
                r#as: "agent",
                uid: None,
                groups: &[],
                extra: BTreeMap::new(),
            },
            KubernetesIdentity::Impersonate(who) => {
                let mut extra = BTreeMap::<_, Vec<_>>::new();
                for (key, value) in &who.extra {
                    extra.entry(key.as_str()).or_default().push(value.as_str());
                }
                Self {
                    r#as: &who.username,
                    uid: who.uid.as_deref(),
                    groups: &who.groups,
                    extra,
                }
            }
        }
    }
}
