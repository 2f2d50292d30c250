//! A job credential in exchange for a KUBECONFIG: one context an agent, each with a session credential of its own.

use std::time::Duration;

use ci_tunnel::config::value::Secret;

use super::{Authenticated, Authenticator, IssueError};
use crate::audit::line as audit;
use crate::identity::Agent;
use crate::kubeconfig::{self, Cluster, Entry, Format};

/// Why there is no KUBECONFIG.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Kubeconfig(#[from] kubeconfig::Error),
}

/// An agent that the job may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    pub agent: Agent,
    /// `default_namespace` of the rule that allows it.
    pub namespace: Option<String>,
}

/// A KUBECONFIG.
#[derive(Debug)]
pub struct Made {
    pub document: String,
    /// The credentials in it.
    pub issued: Vec<audit::Issued>,
}

/// What the job asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// The context to be the current one.
    pub context: Option<String>,
    pub lifetime: Option<Duration>,
    pub format: Format,
}

impl Authenticator {
    /// The KUBECONFIG for a job that may use the agents `allowed`. The endpoint and the command line both end here.
    ///
    /// # Errors
    /// The wish is for a context that is not allowed or a lifetime over the limit, or the server's address is of no use.
    pub fn kubeconfig(
        &self,
        parent: &Authenticated,
        allowed: &[Allowed],
        cluster: &Cluster,
        wishes: &Wishes,
    ) -> Result<Made, Error> {
        let mut issued_ids = Vec::with_capacity(allowed.len());
        let entry = |allowed: &Allowed| {
            let issued = self.issue_session(parent, allowed.agent.id, wishes.lifetime)?;
            issued_ids.push(audit::Issued {
                agent: (&allowed.agent).into(),
                token: issued.token.to_string(),
            });
            Ok(Entry {
                agent: allowed.agent.clone(),
                credential: Secret::new(issued.credential.expose())
                    .expect("a credential is not empty"),
                namespace: allowed.namespace.clone(),
            })
        };
        let entries = allowed
            .iter()
            .map(entry)
            .collect::<Result<Vec<_>, IssueError>>()?;
        let context = wishes.context.as_deref();
        Ok(Made {
            document: kubeconfig::document(cluster, &entries, context, wishes.format)?,
            issued: issued_ids,
        })
    }
}
