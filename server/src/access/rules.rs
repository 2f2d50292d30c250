//! An agent's configuration as rules, indexed so that a decision looks only at entries that name the job's project.

use std::cmp::Ordering;
use std::fmt;

use ci_tunnel::config::document::Invalid;
use ci_tunnel::config::load;

use super::entry::{Entry, RuleRef, Tier};
use super::lint::Severity;
use super::{lint, parse};
use crate::identity::{JobIdentity, LOCAL, ProjectPath};

/// The largest configuration file, in bytes: GitLab's limit.
pub const MAX_FILE: usize = 128 * 1024;
/// GitLab uses this many entries of a list and ignores the rest; here more are used, with a warning.
pub const MANY_ENTRIES: usize = 500;

/// The rules of one agent. The default, that of a missing file, is implicit access alone.
#[derive(Debug, Clone)]
pub struct Rules {
    entries: Vec<Entry>,
    /// Indexes of `entries`, by tier and path; those of one path in the order of the file.
    by_path: Vec<u32>,
    implicit: Option<Entry>,
    /// Whose projects the paths in the file name, where an entry does not say.
    provider: Option<String>,
    log_level: Option<LogLevel>,
    warnings: Vec<String>,
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
    #[error("{file}: {source}{more}")]
    Invalid {
        file: String,
        source: Invalid,
        more: More,
    },
    #[error("{file}: {size} bytes, {MAX_FILE} at most")]
    TooLarge { file: String, size: usize },
    #[error(transparent)]
    Yaml(#[from] load::Error),
}

/// How many errors there are besides the one that is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct More(usize);

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
        let read = parse::file(&document);
        match read.errors.first() {
            None => Ok(Self::new(read)),
            Some(first) => Err(Error::Invalid {
                file: file.to_owned(),
                source: first.clone(),
                more: More(read.errors.len() - 1),
            }),
        }
    }

    fn new(file: parse::File) -> Self {
        let of_entries = lint::entries(&file.entries);
        let findings = file.findings.iter().chain(&of_entries);
        let warnings = findings.filter(|finding| finding.severity() == Severity::Warning);
        let mut rules = Self {
            implicit: file.implicit.then(Entry::implicit),
            log_level: file.log_level,
            warnings: warnings.map(ToString::to_string).collect(),
            ..Self::nobody()
        };
        let entries = file.entries;
        let key = |entry: &Entry| (entry.rule.tier(), entry.rule.id().map(ProjectPath::key));
        // A file has fewer bytes than a `u32` counts.
        rules.by_path = (0..).take(entries.len()).collect();
        rules
            .by_path
            .sort_by_cached_key(|at| key(&entries[*at as usize]));
        Self { entries, ..rules }
    }

    /// Rules that let nobody in: those of a file that was never good.
    pub fn nobody() -> Self {
        Self {
            entries: Vec::new(),
            by_path: Vec::new(),
            implicit: None,
            provider: None,
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

    /// The same rules, read from a repository whose paths are of `provider`. Without one they are for jobs of tokens
    /// that this server issued, and for the providers that entries name.
    #[must_use]
    pub fn of_provider(self, provider: Option<&str>) -> Self {
        Self {
            provider: provider.map(str::to_owned),
            ..self
        }
    }

    /// The entries that name a provider.
    pub fn naming_provider(&self) -> impl Iterator<Item = &RuleRef> {
        let rules = self.entries.iter().map(|entry| &entry.rule);
        rules.filter(|rule| rule.provider().is_some())
    }

    /// The entries that name the job's project, by tier, the nearest tier first; no tier is empty.
    pub(super) fn tiers<'a>(
        &'a self,
        job: &'a JobIdentity,
        config_project: &ProjectPath,
    ) -> impl Iterator<Item = Vec<&'a Entry>> {
        self.paths(&job.project.path, config_project)
            .map(|mut tier| {
                tier.retain(|entry| self.concerns(entry, job));
                tier
            })
            .filter(|tier| !tier.is_empty())
    }

    /// The entries that name a project of this path, of whatever provider, by tier, the nearest tier first.
    pub(super) fn paths<'a>(
        &'a self,
        project: &'a ProjectPath,
        config_project: &ProjectPath,
    ) -> impl Iterator<Item = Vec<&'a Entry>> {
        let implicit = self
            .implicit
            .iter()
            .filter(|_| project == config_project)
            .collect();
        let above = |path: &'a str| Some(path.rsplit_once('/')?.0);
        let groups = std::iter::successors(above(project.as_str()), move |group| above(group));
        std::iter::once(self.named(Tier::Project, project.as_str()))
            .chain(std::iter::once(implicit))
            .chain(groups.map(|group| self.named(Tier::Group, group)))
            .chain(std::iter::once_with(|| self.named(Tier::Instance, "")))
    }

    /// The entries of one tier and path, in the order of the file.
    fn named(&self, tier: Tier, path: &str) -> Vec<&Entry> {
        let entry = |at: &u32| &self.entries[*at as usize];
        let place = |at: &u32| {
            let rule = &entry(at).rule;
            let id = rule.id().map_or("", ProjectPath::as_str);
            let order = rule.tier().cmp(&tier);
            order.then_with(|| compare(id, path))
        };
        let from = self.by_path.partition_point(|at| place(at).is_lt());
        let rest = self.by_path[from..].iter();
        rest.take_while(|at| place(at).is_eq()).map(entry).collect()
    }

    /// Whose projects `entry` is about.
    pub(super) fn provider_of<'a>(&'a self, entry: &'a Entry) -> Option<&'a str> {
        entry.rule.provider().or(self.provider.as_deref())
    }

    /// Whether the path in `entry` is meant in the realm that the job's is of: a path of one provider is not the same
    /// path of another.
    pub(super) fn concerns(&self, entry: &Entry, job: &JobIdentity) -> bool {
        match entry.rule.provider() {
            Some(named) => named == job.provider,
            None => self.is_own_provider(job),
        }
    }

    /// Whether the job's path is meant in the realm of the repository's own paths. The operator vouches for local jobs.
    pub(super) fn is_own_provider(&self, job: &JobIdentity) -> bool {
        job.provider == LOCAL || self.provider.as_deref() == Some(job.provider.as_str())
    }
}

/// The order of [`ProjectPath::key`]: paths are ASCII.
fn compare(one: &str, other: &str) -> Ordering {
    let other = other.bytes().map(|byte| byte.to_ascii_lowercase());
    one.bytes().map(|byte| byte.to_ascii_lowercase()).cmp(other)
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            implicit: Some(Entry::implicit()),
            ..Self::nobody()
        }
    }
}

impl fmt::Display for More {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            more => write!(f, " (and {more} more; `check --agent-config` tells all)"),
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
