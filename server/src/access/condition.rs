//! What an entry asks of a job besides its project. An unknown never satisfies a condition.

use std::fmt;

use super::glob::{Effort, Glob};
use crate::identity::{JobIdentity, RefType};

/// The conditions of one entry; all must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Conditions {
    /// An empty list asks for nothing, here and below.
    pub(super) environments: Vec<Glob>,
    pub(super) refs: Vec<Glob>,
    pub(super) ref_type: Option<RefType>,
    pub(super) protected_branches_only: bool,
    pub(super) protected_environments_only: bool,
    pub(super) pipeline_sources: Vec<Glob>,
    pub(super) users: Vec<Glob>,
}

/// The key of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    Environments,
    PipelineSources,
    ProtectedBranchesOnly,
    ProtectedEnvironmentsOnly,
    RefType,
    Refs,
    Users,
}

/// A condition that does not hold for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub condition: Condition,
    pub reason: String,
}

impl Conditions {
    pub(super) fn hold(&self, job: &JobIdentity) -> bool {
        self.checks(job).all(|(_, holds)| holds)
    }

    /// The conditions that do not hold, in the order of the documentation.
    pub(super) fn failures(&self, job: &JobIdentity) -> Vec<Failure> {
        let failed = self.checks(job).filter(|(_, holds)| !holds);
        failed
            .map(|(condition, _)| Failure {
                condition,
                reason: self.reason(condition, job),
            })
            .collect()
    }

    /// Whether these hold for every job that `other` hold for. False where the patterns do not tell with the effort left.
    pub(super) fn cover(&self, other: &Self, effort: &mut Effort) -> bool {
        (self.ref_type.is_none() || self.ref_type == other.ref_type)
            && (!self.protected_branches_only || other.protected_branches_only)
            && (!self.protected_environments_only || other.protected_environments_only)
            && list_covers(&self.pipeline_sources, &other.pipeline_sources, effort)
            && list_covers(&self.users, &other.users, effort)
            && list_covers(&self.refs, &other.refs, effort)
            && list_covers(&self.environments, &other.environments, effort)
    }

    fn checks<'a>(&'a self, job: &'a JobIdentity) -> impl Iterator<Item = (Condition, bool)> + 'a {
        let environment = job.environment.as_ref();
        let environment_protected =
            environment.and_then(|environment| environment.protected) == Some(true);
        [
            (
                Condition::Environments,
                listed(&self.environments, environment_name(job)),
            ),
            (Condition::Refs, listed(&self.refs, job.git_ref.as_deref())),
            (
                Condition::RefType,
                self.ref_type
                    .is_none_or(|wanted| job.ref_type == Some(wanted)),
            ),
            (
                Condition::ProtectedBranchesOnly,
                !self.protected_branches_only || job.ref_protected == Some(true),
            ),
            (
                Condition::ProtectedEnvironmentsOnly,
                !self.protected_environments_only || environment_protected,
            ),
            (
                Condition::PipelineSources,
                listed(&self.pipeline_sources, job.pipeline_source.as_deref()),
            ),
            (Condition::Users, listed(&self.users, user(job))),
        ]
        .into_iter()
    }

    /// Names what was wanted, but never the users of a rule: they are nobody else's business.
    fn reason(&self, condition: Condition, job: &JobIdentity) -> String {
        let patterns = |what, found, patterns| mismatch(what, found, patterns);
        match condition {
            Condition::Environments => {
                patterns("environment", environment_name(job), &self.environments)
            }
            Condition::PipelineSources => patterns(
                "pipeline source",
                job.pipeline_source.as_deref(),
                &self.pipeline_sources,
            ),
            Condition::Refs => patterns("ref", job.git_ref.as_deref(), &self.refs),
            Condition::ProtectedBranchesOnly => protection("ref", job.ref_protected),
            Condition::ProtectedEnvironmentsOnly => match &job.environment {
                Some(environment) => protection("environment", environment.protected),
                None => "the job has no environment".to_owned(),
            },
            Condition::RefType => match job.ref_type {
                Some(RefType::Branch) => "the job runs for a branch, not a tag".to_owned(),
                Some(RefType::Tag) => "the job runs for a tag, not a branch".to_owned(),
                None => "whether the job runs for a branch or a tag is unknown".to_owned(),
            },
            Condition::Users => match user(job) {
                Some(login) => format!("user {login:?} is not among the users of the rule"),
                None => "the job's user is unknown".to_owned(),
            },
        }
    }
}

fn listed(patterns: &[Glob], value: Option<&str>) -> bool {
    let known = value.filter(|value| !value.is_empty());
    patterns.is_empty()
        || known.is_some_and(|value| patterns.iter().any(|pattern| pattern.matches(value)))
}

/// No pattern asks for nothing.
fn list_covers(wide: &[Glob], narrow: &[Glob], effort: &mut Effort) -> bool {
    if wide.is_empty() || narrow.is_empty() {
        return wide.is_empty();
    }
    let covered = |narrow: &Glob| wide.iter().any(|wide| wide.covers(narrow, effort));
    narrow.iter().all(covered)
}

fn environment_name(job: &JobIdentity) -> Option<&str> {
    job.environment
        .as_ref()
        .and_then(|environment| environment.name.as_deref())
}

fn user(job: &JobIdentity) -> Option<&str> {
    job.user.as_ref().map(|user| user.login.as_str())
}

fn mismatch(what: &str, found: Option<&str>, patterns: &[Glob]) -> String {
    const SHOWN: usize = 5;
    let mut wanted: Vec<_> = patterns
        .iter()
        .take(SHOWN)
        .map(|pattern| format!("{:?}", pattern.as_str()))
        .collect();
    if patterns.len() > SHOWN {
        wanted.push(format!("{} more", patterns.len() - SHOWN));
    }
    let wanted = wanted.join(", ");
    match found.filter(|found| !found.is_empty()) {
        Some(found) => format!("{what} {found:?} matches none of {wanted}"),
        None => format!("the job has no known {what}, but one of {wanted} is required"),
    }
}

fn protection(what: &str, protected: Option<bool>) -> String {
    match protected {
        Some(_) => format!("the {what} is not protected"),
        None => format!("whether the {what} is protected is unknown"),
    }
}

impl Condition {
    /// The key as the file writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Environments => "environments",
            Self::PipelineSources => "pipeline_sources",
            Self::ProtectedBranchesOnly => "protected_branches_only",
            Self::ProtectedEnvironmentsOnly => "protected_environments_only",
            Self::RefType => "ref_type",
            Self::Refs => "refs",
            Self::Users => "users",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.condition.name(), self.reason)
    }
}
