//! The KUBECONFIG document: one cluster (this server), and a user and a context an agent, named as GitLab names them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ci_tunnel::config::load;
use ci_tunnel::config::value::Secret;
use serde::Serialize;

use crate::identity::Agent;

/// The name of the only cluster.
const CLUSTER: &str = "ci-tunnel";

/// Where clients find the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The address of the Kubernetes API front, with its path prefix.
    pub server: String,
    /// The certificates that clients trust, when it is not the system's that they need.
    pub ca_pem: Option<String>,
}

/// What a job may use.
#[derive(Debug, Clone)]
pub struct Entry {
    pub agent: Agent,
    /// What proves the job to this server; the agent's id is put before it.
    pub credential: Secret,
    pub namespace: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    Json,
    #[default]
    Yaml,
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the server's address {0:?} has plain http, over which kubectl sends no credentials: it must be https://"
    )]
    Cleartext(String),
    #[error("the server's address {0:?} is not of the form https://HOST[:PORT][/PREFIX]")]
    Server(String),
    #[error(
        "the context {asked:?} is not one that this job may use; it may use {}",
        list(allowed)
    )]
    UnknownContext { asked: String, allowed: Vec<String> },
    #[error("the KUBECONFIG could not be written: {0}")]
    Write(String),
}

/// The document with a context for each of `entries`. `current`: the context to be the current one. Without it the only
/// one there is; of several none is, as it could be the wrong cluster.
///
/// # Errors
/// The server's address is of no use for kubectl, or `current` is none of the contexts.
pub fn document(
    cluster: &Cluster,
    entries: &[Entry],
    current: Option<&str>,
    format: Format,
) -> Result<String, Error> {
    check_server(&cluster.server)?;
    let document = Document {
        api_version: "v1",
        kind: "Config",
        clusters: vec![Named {
            name: CLUSTER.to_owned(),
            value: ClusterBody::of(cluster),
        }],
        users: entries.iter().map(user).collect(),
        contexts: entries.iter().map(context).collect(),
        current_context: current_context(current, entries)?,
    };
    match format {
        Format::Json => {
            serde_json::to_string_pretty(&document).map_err(|error| Error::Write(error.to_string()))
        }
        Format::Yaml => load::to_string(&document).map_err(|error| Error::Write(error.to_string())),
    }
}

fn user(entry: &Entry) -> Named<User> {
    let token = format!("ci:{}:{}", entry.agent.id, entry.credential.expose());
    Named {
        name: user_name(&entry.agent),
        value: User {
            user: Token { token },
        },
    }
}

fn context(entry: &Entry) -> Named<Context<'_>> {
    let context = ContextBody {
        cluster: CLUSTER,
        user: user_name(&entry.agent),
        namespace: entry.namespace.as_deref(),
    };
    Named {
        name: entry.agent.to_string(),
        value: Context { context },
    }
}

fn user_name(agent: &Agent) -> String {
    format!("agent:{}", agent.id)
}

fn current_context(asked: Option<&str>, entries: &[Entry]) -> Result<Option<String>, Error> {
    match (asked, entries) {
        (Some(asked), entries) => find(asked, entries).map(Some),
        (None, [only]) => Ok(Some(only.agent.to_string())),
        (None, _) => Ok(None),
    }
}

/// The name of the context that `asked` means; paths compare without regard to case, as everywhere.
fn find(asked: &str, entries: &[Entry]) -> Result<String, Error> {
    let names = || entries.iter().map(|entry| entry.agent.to_string());
    names()
        .find(|name| name.eq_ignore_ascii_case(asked))
        .ok_or_else(|| Error::UnknownContext {
            asked: asked.to_owned(),
            allowed: names().collect(),
        })
}

fn check_server(server: &str) -> Result<(), Error> {
    let malformed = || Error::Server(server.to_owned());
    let address: http::Uri = server.parse().map_err(|_| malformed())?;
    let authority = address.authority().ok_or_else(malformed)?;
    match address.scheme_str() {
        Some("http") => Err(Error::Cleartext(server.to_owned())),
        Some("https")
            if !authority.host().is_empty()
                && !authority.as_str().contains('@')
                && address.query().is_none()
                && !server.contains('#') =>
        {
            Ok(())
        }
        _ => Err(malformed()),
    }
}

fn list(allowed: &[String]) -> String {
    if allowed.is_empty() {
        "none".to_owned()
    } else {
        allowed.join(", ")
    }
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "apiVersion")]
    api_version: &'a str,
    kind: &'a str,
    clusters: Vec<Named<ClusterBody<'a>>>,
    users: Vec<Named<User>>,
    contexts: Vec<Named<Context<'a>>>,
    #[serde(rename = "current-context", skip_serializing_if = "Option::is_none")]
    current_context: Option<String>,
}

#[derive(Serialize)]
struct Named<T> {
    name: String,
    #[serde(flatten)]
    value: T,
}

#[derive(Serialize)]
struct ClusterBody<'a> {
    cluster: ClusterFields<'a>,
}

#[derive(Serialize)]
struct ClusterFields<'a> {
    server: &'a str,
    #[serde(
        rename = "certificate-authority-data",
        skip_serializing_if = "Option::is_none"
    )]
    ca: Option<String>,
}

#[derive(Serialize)]
struct User {
    user: Token,
}

#[derive(Serialize)]
struct Token {
    token: String,
}

#[derive(Serialize)]
struct Context<'a> {
    context: ContextBody<'a>,
}

#[derive(Serialize)]
struct ContextBody<'a> {
    cluster: &'a str,
    user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
}

impl<'a> ClusterBody<'a> {
    fn of(cluster: &'a Cluster) -> Self {
        let ca = cluster.ca_pem.as_ref().map(|pem| STANDARD.encode(pem));
        Self {
            cluster: ClusterFields {
                server: &cluster.server,
                ca,
            },
        }
    }
}

#[cfg(test)]
mod tests;
