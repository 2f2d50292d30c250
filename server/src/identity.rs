//! The words of authorization: agents, projects, and what a verified credential says of a job.
//!
//! Whatever a credential does not say is `None`, and an unknown never satisfies a condition.

mod time;

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// The provider that stands for this server itself: it issued the job's token, and its operator vouches for the job.
pub const LOCAL: &str = "local";

/// An agent's number, unique on this server, never used again. It stands in `Authorization: Bearer ci:<id>:…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AgentId(pub u64);

/// An agent's name: an RFC 1123 label, 63 characters at most, unique in its configuration project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentName(String);

/// The full path of a project or group (`acme/team/app`), as its CI system writes it; compared without regard to case.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProjectPath(String);

/// A registered agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    pub id: AgentId,
    /// The project in whose repository the agent's configuration file lies.
    pub project: ProjectPath,
    pub name: AgentName,
}

/// What a verified credential says of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobIdentity {
    /// Who vouched: `local`, or the name of a configured provider. Paths of two providers are two things.
    pub provider: String,
    /// Begins the job's names in Kubernetes (`gitlab`, `github`); unknown of a local token, for which the operator
    /// vouches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_prefix: Option<String>,
    pub project: Project,
    /// The groups of the project, the nearest first. Derived from the project's path where the ids are not known.
    #[serde(default)]
    pub groups: Vec<Group>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline_source: Option<String>,
    /// The short name of the branch or tag (`main`, not `refs/heads/main`).
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ref_type: Option<RefType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ref_protected: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_environment: Option<String>,
    /// When the credential ends.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time")]
    pub expires_at: Option<SystemTime>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    pub path: ProjectPath,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub path: ProjectPath,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefType {
    Branch,
    Tag,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Unknown where the credential tells of the environment without naming it, as GitLab's job tokens do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub login: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The user's roles in the job's project (`developer`, `maintainer` …), when the credential tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
}

/// Why a text is not a name or a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("{0:?} is not an agent name: lower-case letters, digits and inner hyphens, 63 at most")]
    AgentName(String),
    #[error("{0:?} is not an agent id: a whole number over 0")]
    AgentId(String),
    #[error(
        "{0:?} is not a project path: segments of letters, digits, '_', '-', '.' joined by '/'"
    )]
    ProjectPath(String),
}

impl AgentName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ProjectPath {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The groups that hold this path, the nearest first: `a/b/c` is in `a/b` and `a`.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> + '_ {
        std::iter::successors(self.0.rsplit_once('/').map(|(group, _)| group), |group| {
            group.rsplit_once('/').map(|(outer, _)| outer)
        })
        .map(|group| Self(group.to_owned()))
    }

    /// The form that comparisons and map keys use.
    pub fn key(&self) -> String {
        self.0.to_lowercase()
    }
}

impl PartialEq for ProjectPath {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.key() == other.key()
    }
}

impl Eq for ProjectPath {}

impl FromStr for AgentId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let digits = !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && !text.starts_with('0');
        match text.parse() {
            Ok(id) if digits => Ok(Self(id)),
            _ => Err(Invalid::AgentId(text.to_owned())),
        }
    }
}

impl FromStr for AgentName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let valid = (1..=63).contains(&text.len())
            && text.bytes().all(inner)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::AgentName(text.to_owned()))
        }
    }
}

impl FromStr for ProjectPath {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let segment = |segment: &str| {
            !segment.is_empty()
                && segment != "."
                && segment != ".."
                && segment.chars().all(character)
        };
        if text.len() <= 1024 && text.split('/').all(segment) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::ProjectPath(text.to_owned()))
        }
    }
}

macro_rules! string_conversions {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

string_conversions!(AgentName, ProjectPath);

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.project, self.name)
    }
}
