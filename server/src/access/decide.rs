//! The decision: may this job use this agent, by which rule, and as whom.
//!
//! Tiers are asked from the nearest outwards and the first that names the job's project decides alone. Within it the
//! entries are tried in file order and the first whose conditions all hold wins. An entry of another provider does not
//! name the project: a path is one of its own provider alone. [`decide`] and [`explain`] read the same tiers and
//! entries through the same functions; `explain` only keeps what `decide` forgets.

use super::condition::Failure;
use super::entry::{Entry, RuleRef};
use super::permit::{AccessAs, Permit};
use super::rules::Rules;
use super::template::Unrenderable;
use crate::identity::{Agent, AgentId, JobIdentity, LOCAL, ProjectPath};

/// A job may not use an agent. The text is for the owner of the job where it is no [secret](Denied::is_secret), else for
/// the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error(
        "no rule of the agent's configuration names the project {project}{}, a group of it, or all projects",
        of(provider)
    )]
    NotNamed {
        project: ProjectPath,
        provider: String,
    },
    /// The entry that the fewest conditions speak against, the first of those.
    #[error("{rule} names the project {project}, but {}", list(failures))]
    Conditions {
        project: ProjectPath,
        rule: RuleRef,
        failures: Vec<Failure>,
    },
    #[error("GitLab does not list agent {agent} for this job")]
    NotListed { agent: AgentId },
    #[error(
        "GitLab lists its agent {agent} for this job, but the agent that has this id here got it by chance: register it \
         again with `agent create --id {agent}`"
    )]
    IdNotGiven { agent: AgentId },
    #[error(
        "GitLab says that agent {agent} is configured in {theirs}, and it is registered here as one of {ours}: register \
         it again under GitLab's project"
    )]
    OtherConfigProject {
        agent: AgentId,
        theirs: ProjectPath,
        ours: ProjectPath,
    },
    #[error("{rule} is not understood: {reason}")]
    Unreadable { rule: RuleRef, reason: String },
    /// Conditions hold, but there is no identity to act as. Entries below are not tried: they may give more.
    #[error("{rule} lets the job in, but has no identity for it: {reason}")]
    Identity { rule: RuleRef, reason: Unrenderable },
}

/// Decides whether `job` may use `agent`.
pub fn decide(job: &JobIdentity, agent: &Agent, rules: &Rules) -> Result<Permit, Denied> {
    decide_knowing(job, agent, rules, None)
}

/// [`decide`], where the number of the agent's configuration project may be known.
pub(super) fn decide_knowing(
    job: &JobIdentity,
    agent: &Agent,
    rules: &Rules,
    config_project: Option<u64>,
) -> Result<Permit, Denied> {
    let tier = rules.tiers(job, &agent.project).next();
    let tier = tier.ok_or_else(|| not_named(job))?;
    match tier.iter().find(|entry| entry.conditions.hold(job)) {
        Some(entry) => {
            let own = || job.project.path == agent.project && rules.is_own_provider(job);
            let config_project = config_project.or_else(|| job.project.id.filter(|_| own()));
            permit(entry, job, agent, config_project)
        }
        None => Err(nearest(&tier, job)),
    }
}

/// What was decided, and how each entry that names a project of the job's path took part.
#[derive(Debug, Clone)]
pub struct Explanation {
    pub agent: Agent,
    pub project: ProjectPath,
    pub decision: Result<Permit, Denied>,
    pub considered: Vec<Considered>,
}

/// An entry's part in a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Considered {
    pub rule: RuleRef,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Conditions that do not hold.
    Failed(Vec<Failure>),
    /// The decision was made by an entry of the same tier that stands before it.
    NotReached,
    /// The entry is about another provider's projects: this one's, or local jobs alone where none is known.
    OtherProvider(Option<String>),
    /// The decision was made by a nearer tier, whatever this entry says.
    Outranked,
    /// The entry decided.
    Won,
}

/// Decides as [`decide`] does and keeps the reasons.
pub fn explain(job: &JobIdentity, agent: &Agent, rules: &Rules) -> Explanation {
    let project = &job.project.path;
    let mut considered = Vec::new();
    let mut outranked = false;
    for tier in rules.paths(project, &agent.project) {
        let (mut named, mut won) = (false, false);
        for entry in tier {
            let concerned = rules.concerns(entry, job);
            let outcome = match (concerned, outranked, won) {
                (false, ..) => Outcome::OtherProvider(rules.provider_of(entry).map(str::to_owned)),
                (true, true, _) => Outcome::Outranked,
                (true, false, true) => Outcome::NotReached,
                (true, false, false) => part(entry, job),
            };
            named |= concerned;
            won |= outcome == Outcome::Won;
            considered.push(Considered {
                rule: entry.rule.clone(),
                outcome,
            });
        }
        outranked |= named;
    }
    Explanation {
        agent: agent.clone(),
        project: project.clone(),
        decision: decide(job, agent, rules),
        considered,
    }
}

fn part(entry: &Entry, job: &JobIdentity) -> Outcome {
    if entry.conditions.hold(job) {
        Outcome::Won
    } else {
        Outcome::Failed(entry.conditions.failures(job))
    }
}

fn permit(
    entry: &Entry,
    job: &JobIdentity,
    agent: &Agent,
    config_project: Option<u64>,
) -> Result<Permit, Denied> {
    let identity = entry.source.identity(job, agent, config_project);
    let refuse = |reason| Denied::Identity {
        rule: entry.rule.clone(),
        reason,
    };
    Ok(Permit::new(
        entry.rule.clone(),
        AccessAs::from(&entry.source),
        identity.map_err(refuse)?,
        entry.default_namespace.clone(),
    ))
}

fn nearest(tier: &[&Entry], job: &JobIdentity) -> Denied {
    let project = job.project.path.clone();
    let judged = tier
        .iter()
        .map(|entry| (entry, entry.conditions.failures(job)));
    match judged.min_by_key(|(_, failures)| failures.len()) {
        Some((entry, failures)) => Denied::Conditions {
            project,
            rule: entry.rule.clone(),
            failures,
        },
        None => not_named(job),
    }
}

fn not_named(job: &JobIdentity) -> Denied {
    Denied::NotNamed {
        project: job.project.path.clone(),
        provider: job.provider.clone(),
    }
}

/// A local job is of no CI system.
fn of(provider: &str) -> String {
    match provider {
        LOCAL => String::new(),
        provider => format!(" of {provider}"),
    }
}

fn list(failures: &[Failure]) -> String {
    failures
        .iter()
        .map(|failure| failure.reason.as_str())
        .collect::<Vec<_>>()
        .join("; ")
}

impl Denied {
    /// The entry that came nearest.
    pub fn rule(&self) -> Option<&RuleRef> {
        match self {
            Self::NotNamed { .. }
            | Self::NotListed { .. }
            | Self::IdNotGiven { .. }
            | Self::OtherConfigProject { .. } => None,
            Self::Conditions { rule, .. }
            | Self::Identity { rule, .. }
            | Self::Unreadable { rule, .. } => Some(rule),
        }
    }

    /// Whether the job may not even learn that there is such an agent: nothing about the agent speaks of its project, or
    /// what does is about another agent, of its CI system.
    pub fn is_secret(&self) -> bool {
        match self {
            Self::NotNamed { .. }
            | Self::NotListed { .. }
            | Self::IdNotGiven { .. }
            | Self::OtherConfigProject { .. } => true,
            Self::Conditions { .. } | Self::Unreadable { .. } | Self::Identity { .. } => false,
        }
    }
}
