//! One entry of an agent's configuration, and how audit lines and messages name it.

use std::fmt;
use std::sync::Arc;

use super::condition::Conditions;
use super::impersonate::Source;
use crate::identity::{AgentId, ProjectPath};

/// One entry of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) rule: RuleRef,
    pub(super) source: Source,
    pub(super) conditions: Conditions,
    pub(super) default_namespace: Option<String>,
}

/// Which rule: what audit lines and messages say. Every permit and denial holds one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleRef(Arc<Place>);

#[derive(Debug, PartialEq, Eq)]
struct Place {
    tier: Tier,
    id: Option<ProjectPath>,
    provider: Option<String>,
    index: usize,
    /// Line and column.
    position: (usize, usize),
}

/// The kinds of rules, the most specific first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    Project,
    /// Jobs of the configuration project itself.
    Implicit,
    Group,
    Instance,
    /// No rule of the file: GitLab's own copy of the configuration, as GitLab answered it.
    Gitlab,
}

impl Entry {
    pub(super) fn implicit() -> Self {
        Self {
            rule: RuleRef::new(Tier::Implicit, None, None, 0, (0, 0)),
            source: Source::Agent,
            conditions: Conditions::default(),
            default_namespace: None,
        }
    }
}

impl RuleRef {
    pub(super) fn new(
        tier: Tier,
        id: Option<ProjectPath>,
        provider: Option<String>,
        index: usize,
        position: (usize, usize),
    ) -> Self {
        Self(Arc::new(Place {
            tier,
            id,
            provider,
            index,
            position,
        }))
    }

    /// What GitLab says of an agent, which stands in no file here.
    pub(super) fn gitlab(agent: AgentId) -> Self {
        let index = usize::try_from(agent.0).unwrap_or(usize::MAX);
        Self::new(Tier::Gitlab, None, None, index, (0, 0))
    }

    pub fn tier(&self) -> Tier {
        self.0.tier
    }

    /// The project or group that the entry names.
    pub fn id(&self) -> Option<&ProjectPath> {
        self.0.id.as_ref()
    }

    /// The provider that the entry names, whose projects alone it is about.
    pub fn provider(&self) -> Option<&str> {
        self.0.provider.as_deref()
    }

    /// The entry's place in its list, counted from 0; the agent's id for what GitLab says.
    pub fn index(&self) -> usize {
        self.0.index
    }

    /// The entry's line in the file; none for implicit access, which no line grants.
    pub fn line(&self) -> Option<usize> {
        let (line, _) = self.0.position;
        (line > 0).then_some(line)
    }

    /// Line and column.
    pub(super) fn position(&self) -> (usize, usize) {
        self.0.position
    }

    /// The way to the entry from the root of the document.
    pub(super) fn path(&self) -> String {
        let index = self.0.index;
        match self.0.tier {
            Tier::Project => format!("ci_access.projects[{index}]"),
            Tier::Implicit => "ci_access.implicit".to_owned(),
            Tier::Group => format!("ci_access.groups[{index}]"),
            Tier::Instance => "ci_access.instance".to_owned(),
            Tier::Gitlab => String::new(),
        }
    }
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = match self.0.tier {
            Tier::Project => "projects",
            Tier::Implicit => return f.write_str("implicit access of the configuration project"),
            Tier::Group => "groups",
            Tier::Instance => "instance",
            Tier::Gitlab => return write!(f, "GitLab's configuration of agent {}", self.0.index),
        };
        f.write_str(list)?;
        if self.0.tier != Tier::Instance {
            write!(f, "[{}]", self.0.index)?;
        }
        write!(f, " (line {}", self.0.position.0)?;
        if let Some(id) = &self.0.id {
            write!(f, ", {:?}", id.as_str())?;
        }
        if let Some(provider) = &self.0.provider {
            write!(f, " of {provider}")?;
        }
        f.write_str(")")
    }
}
