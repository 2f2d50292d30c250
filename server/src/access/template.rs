//! Texts with placeholders over a job's identity: `deploy:{project_path}:{environment}`.
//!
//! `{{` and `}}` stand for the braces themselves. A value that the job's credential does not tell is an error, never
//! an empty text, and no value can move the text into a name space that only the file's author may write.

use std::fmt;

use ci_tunnel::protocol::identity::MAX_VALUES;

use super::impersonate::KINDS;
use crate::identity::{Agent, AgentName, JobIdentity, RefType};

/// A checked template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Value(Placeholder),
}

macro_rules! placeholders {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// What a template can name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Placeholder { $($variant),* }

        impl Placeholder {
            pub const NAMES: &[&str] = &[$($name),*];

            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

placeholders! {
    AgentId = "agent_id",
    AgentName = "agent_name",
    Environment = "environment",
    EnvironmentSlug = "environment_slug",
    EnvironmentTier = "environment_tier",
    GroupPath = "group_path",
    JobId = "job_id",
    NamespacePath = "namespace_path",
    PipelineId = "pipeline_id",
    PipelineSource = "pipeline_source",
    ProjectId = "project_id",
    ProjectName = "project_name",
    ProjectPath = "project_path",
    Provider = "provider",
    Ref = "ref",
    RefSlug = "ref_slug",
    RefType = "ref_type",
    RootGroupPath = "root_group_path",
    UserEmail = "user_email",
    UserId = "user_id",
    UserLogin = "user_login",
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("unknown placeholder {{{name}}}: known are {}; write {{{{ for a brace", Placeholder::NAMES.join(", "))]
    Unknown { name: String },
    #[error("a '{0}' without its partner: write '{0}{0}' for the character itself")]
    Unbalanced(char),
    #[error("is empty")]
    Empty,
    #[error("begins or ends with a space or holds a control character")]
    Space,
}

/// Why a template has no value for a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unrenderable {
    #[error("the job's credential does not tell its {0}")]
    Unknown(&'static str),
    #[error(
        "{value:?} would begin with {prefix:?}, which only the text of the rule itself may write"
    )]
    Reserved { value: String, prefix: String },
    #[error("the provider's identity_prefix {0:?} is not one that names may begin with")]
    Prefix(String),
    #[error("{0:?} has a control character, is empty, too long, or has spaces around it")]
    Malformed(String),
    #[error("the job's identity would have more than {MAX_VALUES} groups or extra values")]
    TooMany,
}

/// Name spaces that a value from a job must not enter: the cluster's own names, and those that this server makes.
const RESERVED: &[&str] = &["system:", "gitlab:", "ci-tunnel:"];

impl Template {
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Error::Empty);
        }
        if text.trim() != text || text.chars().any(char::is_control) {
            return Err(Error::Space);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            push_literal(&mut parts, &rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            rest = match after.strip_prefix(brace) {
                Some(after) => {
                    push_literal(&mut parts, brace);
                    after
                }
                None if brace == "{" => {
                    let (name, after) = after.split_once('}').ok_or(Error::Unbalanced('{'))?;
                    let unknown = || Error::Unknown {
                        name: name.to_owned(),
                    };
                    parts.push(Part::Value(Placeholder::parse(name).ok_or_else(unknown)?));
                    after
                }
                None => return Err(Error::Unbalanced('}')),
            };
        }
        push_literal(&mut parts, rest);
        Ok(Self { parts })
    }

    /// The text for this job.
    pub fn render(&self, job: &JobIdentity, agent: &Agent) -> Result<String, Unrenderable> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Value(placeholder) => {
                    let value = value(*placeholder, job, agent).filter(|value| !value.is_empty());
                    text.push_str(&value.ok_or_else(|| Unrenderable::Unknown(placeholder.name()))?);
                }
            }
        }
        self.check_reserved(&text)?;
        Ok(text)
    }

    fn check_reserved(&self, text: &str) -> Result<(), Unrenderable> {
        let written = match self.parts.first() {
            Some(Part::Literal(literal)) => literal.as_str(),
            _ => "",
        };
        match reserved(text) {
            Some(prefix) if !written.starts_with(prefix) => Err(Unrenderable::Reserved {
                value: text.to_owned(),
                prefix: prefix.to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

/// The name space that `text` lies in, if it is not everybody's: one of [`RESERVED`], or that of any provider's names,
/// of which this server may have others tomorrow.
fn reserved(text: &str) -> Option<&str> {
    if let Some(prefix) = RESERVED.iter().find(|prefix| text.starts_with(**prefix)) {
        return Some(prefix);
    }
    let (provider, rest) = text.split_once(':')?;
    let kind = rest.split(':').next().unwrap_or(rest);
    let is_name = provider.parse::<AgentName>().is_ok() && KINDS.contains(&kind);
    is_name.then(|| &text[..=provider.len()])
}

/// Neighbouring literals become one, so that the first tells how the text begins.
fn push_literal(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Literal(literal)) => literal.push_str(text),
        _ => parts.push(Part::Literal(text.to_owned())),
    }
}

fn value(placeholder: Placeholder, job: &JobIdentity, agent: &Agent) -> Option<String> {
    let path = job.project.path.as_str();
    let environment = job.environment.as_ref();
    let user = job.user.as_ref();
    match placeholder {
        Placeholder::AgentId => Some(agent.id.to_string()),
        Placeholder::AgentName => Some(agent.name.to_string()),
        Placeholder::Environment => environment.and_then(|environment| environment.name.clone()),
        Placeholder::EnvironmentSlug => {
            environment.and_then(|environment| environment.slug.clone())
        }
        Placeholder::EnvironmentTier => {
            environment.and_then(|environment| environment.tier.clone())
        }
        Placeholder::JobId => job.job_id.clone(),
        Placeholder::GroupPath | Placeholder::NamespacePath => {
            path.rsplit_once('/').map(|(group, _)| group.to_owned())
        }
        Placeholder::PipelineId => job.pipeline_id.clone(),
        Placeholder::PipelineSource => job.pipeline_source.clone(),
        Placeholder::ProjectId => job.project.id.map(|id| id.to_string()),
        Placeholder::ProjectName => path.rsplit('/').next().map(str::to_owned),
        Placeholder::ProjectPath => Some(path.to_owned()),
        Placeholder::Provider => Some(job.provider.clone()),
        Placeholder::Ref => job.git_ref.clone(),
        Placeholder::RefSlug => job.git_ref.as_deref().map(slug),
        Placeholder::RefType => job.ref_type.map(|kind| ref_type(kind).to_owned()),
        Placeholder::RootGroupPath => path.split_once('/').map(|(root, _)| root.to_owned()),
        Placeholder::UserEmail => user.and_then(|user| user.email.clone()),
        Placeholder::UserId => user.and_then(|user| user.id).map(|id| id.to_string()),
        Placeholder::UserLogin => user.map(|user| user.login.clone()),
    }
}

pub(super) fn ref_type(kind: RefType) -> &'static str {
    match kind {
        RefType::Branch => "branch",
        RefType::Tag => "tag",
    }
}

/// As `CI_COMMIT_REF_SLUG`: lower case, 63 characters at most, everything but letters and digits a hyphen, none at the ends.
fn slug(text: &str) -> String {
    let character = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let slug: String = text.chars().map(character).take(63).collect();
    slug.trim_matches('-').to_owned()
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Literal(literal) => f.write_str(&literal.replace('{', "{{").replace('}', "}}")),
            Part::Value(placeholder) => write!(f, "{{{}}}", placeholder.name()),
        })
    }
}
