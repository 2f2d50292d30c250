//! An agent's configuration as rules, indexed so that a decision looks only at entries that name the job's project.

use std::collections::HashMap;
use std::fmt;

use ci_tunnel::config::document::Invalid;
use ci_tunnel::config::load;

use super::condition::Conditions;
use super::impersonate::Source;
use super::parse;
use crate::identity::{AgentId, ProjectPath};

/// The largest configuration file, in bytes: GitLab's limit.
pub const MAX_FILE: usize = 128 * 1024;
/// GitLab uses this many entries of a list and ignores the rest; here more are used, with a warning.
pub const MANY_ENTRIES: usize = 500;

/// The rules of one agent. The default, that of a missing file, is implicit access alone.
#[derive(Debug, Clone)]
pub struct Rules {
    entries: Vec<Entry>,
    projects: HashMap<String, Vec<usize>>,
    groups: HashMap<String, Vec<usize>>,
    instance: Vec<usize>,
    implicit: Option<Entry>,
    log_level: Option<LogLevel>,
    warnings: Vec<String>,
}

/// One entry of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) rule: RuleRef,
    pub(super) source: Source,
    pub(super) conditions: Conditions,
    pub(super) default_namespace: Option<String>,
}

/// Which rule: what audit lines and messages say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleRef {
    tier: Tier,
    id: Option<ProjectPath>,
    index: usize,
    line: usize,
}

/// The kinds of rules, the most specific first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    Project,
    /// Jobs of the configuration project itself.
    Implicit,
    Group,
    Instance,
    /// No rule of the file: GitLab's own copy of the configuration, as GitLab answered it.
    Gitlab,
}

/// How much the agent logs: `observability.logging.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    Debug,
    Error,
    Info,
    Warn,
}

/// Why a file gave no rules.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{file}: {source}")]
    Invalid { file: String, source: Invalid },
    #[error("{file}: {size} bytes, {MAX_FILE} at most")]
    TooLarge { file: String, size: usize },
    #[error(transparent)]
    Yaml(#[from] load::Error),
}

impl Rules {
    /// Reads `text`, the content of the agent configuration `file`.
    pub fn parse(text: &str, file: &str) -> Result<Self, Error> {
        if text.len() > MAX_FILE {
            return Err(Error::TooLarge {
                file: file.to_owned(),
                size: text.len(),
            });
        }
        let document = load::document(text, file)?;
        parse::rules(&document).map_err(|source| Error::Invalid {
            file: file.to_owned(),
            source,
        })
    }

    pub(super) fn new(
        entries: Vec<Entry>,
        implicit: bool,
        log_level: Option<LogLevel>,
        warnings: Vec<String>,
    ) -> Self {
        let mut rules = Self {
            implicit: implicit.then(Entry::implicit),
            log_level,
            warnings,
            ..Self::nobody()
        };
        for (at, entry) in entries.iter().enumerate() {
            let key = entry
                .rule
                .id
                .as_ref()
                .map(ProjectPath::key)
                .unwrap_or_default();
            match entry.rule.tier {
                Tier::Project => rules.projects.entry(key).or_default().push(at),
                Tier::Group => rules.groups.entry(key).or_default().push(at),
                Tier::Instance => rules.instance.push(at),
                Tier::Implicit | Tier::Gitlab => {}
            }
        }
        Self { entries, ..rules }
    }

    /// Rules that let nobody in: those of a file that was never good.
    pub fn nobody() -> Self {
        Self {
            entries: Vec::new(),
            projects: HashMap::new(),
            groups: HashMap::new(),
            instance: Vec::new(),
            implicit: None,
            log_level: None,
            warnings: Vec::new(),
        }
    }

    /// How much the agent is to log, when the file says.
    pub fn log_level(&self) -> Option<LogLevel> {
        self.log_level
    }

    /// What in the file is probably not meant so, with line numbers.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The entries that name `project`, by tier, the nearest tier first; no tier is empty.
    pub(super) fn tiers<'a>(
        &'a self,
        project: &'a ProjectPath,
        config_project: &ProjectPath,
    ) -> impl Iterator<Item = Vec<&'a Entry>> {
        let named = |index: Option<&'a Vec<usize>>| -> Vec<&'a Entry> {
            index
                .into_iter()
                .flatten()
                .map(|at| &self.entries[*at])
                .collect()
        };
        let implicit = self
            .implicit
            .iter()
            .filter(|_| project == config_project)
            .collect();
        let groups = project
            .ancestors()
            .map(move |group| named(self.groups.get(&group.key())));
        std::iter::once(named(self.projects.get(&project.key())))
            .chain(std::iter::once(implicit))
            .chain(groups)
            .chain(std::iter::once_with(move || named(Some(&self.instance))))
            .filter(|tier| !tier.is_empty())
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            implicit: Some(Entry::implicit()),
            ..Self::nobody()
        }
    }
}

impl Entry {
    fn implicit() -> Self {
        Self {
            rule: RuleRef {
                tier: Tier::Implicit,
                id: None,
                index: 0,
                line: 0,
            },
            source: Source::Agent,
            conditions: Conditions::default(),
            default_namespace: None,
        }
    }
}

impl RuleRef {
    pub(super) fn new(tier: Tier, id: Option<ProjectPath>, index: usize, line: usize) -> Self {
        Self {
            tier,
            id,
            index,
            line,
        }
    }

    /// What GitLab says of an agent, which stands in no file here.
    pub(super) fn gitlab(agent: AgentId) -> Self {
        Self::new(
            Tier::Gitlab,
            None,
            usize::try_from(agent.0).unwrap_or(usize::MAX),
            0,
        )
    }

    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// The project or group that the entry names.
    pub fn id(&self) -> Option<&ProjectPath> {
        self.id.as_ref()
    }

    /// The entry's place in its list, counted from 0; of GitLab's entries, the agent's id.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The entry's line in the file; none for implicit access, which no line grants.
    pub fn line(&self) -> Option<usize> {
        (self.line > 0).then_some(self.line)
    }
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tier,
            id,
            index,
            line,
        } = self;
        let id = id.as_ref().map(ProjectPath::as_str).unwrap_or_default();
        match tier {
            Tier::Project => write!(f, "projects[{index}] (line {line}, {id:?})"),
            Tier::Implicit => f.write_str("implicit access of the configuration project"),
            Tier::Group => write!(f, "groups[{index}] (line {line}, {id:?})"),
            Tier::Instance => write!(f, "instance (line {line})"),
            Tier::Gitlab => write!(f, "GitLab's configuration of agent {index}"),
        }
    }
}

impl LogLevel {
    /// The level as `tracing` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Error => "error",
            Self::Info => "info",
            Self::Warn => "warn",
        }
    }
}
