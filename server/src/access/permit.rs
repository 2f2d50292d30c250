//! A permit: what a job may do at an agent.

use std::fmt;

use ci_tunnel::protocol::identity::KubernetesIdentity;

use super::entry::RuleRef;
use super::impersonate::Source;

/// A job may use an agent: by which rule, and as whom. Only a decision makes one: by the rules of a file,
/// or by GitLab's.
#[derive(Debug, Clone)]
pub struct Permit {
    rule: RuleRef,
    access_as: AccessAs,
    identity: KubernetesIdentity,
    default_namespace: Option<String>,
}

/// The kind of identity that a rule gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessAs {
    /// The agent's own; the only kind under which a job may impersonate others itself (`kubectl --as`).
    Agent,
    CiJob,
    CiUser,
    Impersonate,
}

impl Permit {
    pub(super) fn new(
        rule: RuleRef,
        access_as: AccessAs,
        identity: KubernetesIdentity,
        default_namespace: Option<String>,
    ) -> Self {
        Self {
            rule,
            access_as,
            identity,
            default_namespace,
        }
    }

    pub fn identity(&self) -> &KubernetesIdentity {
        &self.identity
    }

    pub fn rule(&self) -> &RuleRef {
        &self.rule
    }

    pub fn access_as(&self) -> AccessAs {
        self.access_as
    }

    /// The namespace of the job's kubeconfig context. It limits nothing.
    pub fn default_namespace(&self) -> Option<&str> {
        self.default_namespace.as_deref()
    }
}

/// Equal permits allow the same thing. By which line is not compared: a running request must not be cut because a
/// comment moved its rule down.
impl PartialEq for Permit {
    fn eq(&self, other: &Self) -> bool {
        self.access_as == other.access_as && self.identity == other.identity
    }
}

impl Eq for Permit {}

impl From<&Source> for AccessAs {
    fn from(source: &Source) -> Self {
        match source {
            Source::Agent => Self::Agent,
            Source::CiJob => Self::CiJob,
            Source::CiUser => Self::CiUser,
            Source::Impersonate(_) => Self::Impersonate,
        }
    }
}

impl AccessAs {
    /// The name as the file writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::CiJob => "ci_job",
            Self::CiUser => "ci_user",
            Self::Impersonate => "impersonate",
        }
    }
}

impl fmt::Display for AccessAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
