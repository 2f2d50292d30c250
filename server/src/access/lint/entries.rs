//! What is odd about one entry by itself, or about the paths that a file names.

use std::collections::HashMap;

use super::{Finding, Lint};
use crate::access::entry::{Entry, Tier};
use crate::access::impersonate::Source;
use crate::identity::RefType;

pub(super) fn all(entries: &[Entry]) -> Vec<Finding> {
    let groups = Groups::of(entries);
    let mut findings = Vec::new();
    for entry in entries {
        findings.extend(agent_for_many(entry));
        findings.extend(namespace_is_no_limit(entry));
        findings.extend(system_identity(entry));
        findings.extend(open_environment(entry));
        findings.extend(contradiction(entry));
        findings.extend(impossible_path(entry));
        findings.extend(groups.group_or_project(entry));
    }
    findings
}

fn agent_for_many(entry: &Entry) -> Option<Finding> {
    let whom = match entry.rule.tier() {
        Tier::Group => "every project of the group",
        Tier::Instance => "every project",
        Tier::Project | Tier::Implicit | Tier::Gitlab => return None,
    };
    let message = format!(
        "gives {whom} the agent's own rights, which is what `access_as` is without a value: give `ci_job` or another \
         identity, with rights of its own"
    );
    (entry.source == Source::Agent).then(|| Finding::on(entry, Lint::AgentForMany, message))
}

fn namespace_is_no_limit(entry: &Entry) -> Option<Finding> {
    let namespace = entry.default_namespace.as_ref()?;
    let message = format!(
        "{namespace:?} is where kubectl looks first, not a limit: as the agent, jobs may use every namespace that it may"
    );
    (entry.source == Source::Agent).then(|| Finding::on(entry, Lint::NamespaceIsNoLimit, message))
}

fn system_identity(entry: &Entry) -> Option<Finding> {
    let Source::Impersonate(templates) = &entry.source else {
        return None;
    };
    let names = std::iter::once(&templates.username).chain(&templates.groups);
    let name = names
        .map(ToString::to_string)
        .find(|name| name.starts_with("system:"))?;
    let more = match name.as_str() {
        "system:masters" => ", which no RBAC rule holds back",
        _ => "",
    };
    let message = format!("{name:?} is an identity of Kubernetes itself{more}");
    Some(Finding::on(entry, Lint::SystemIdentity, message))
}

/// An environment's name is the pipeline author's choice, unless the environment or the ref is protected.
fn open_environment(entry: &Entry) -> Option<Finding> {
    let conditions = &entry.conditions;
    let guarded = conditions.protected_branches_only
        || conditions.protected_environments_only
        || !conditions.refs.is_empty()
        || !conditions.users.is_empty();
    let production = conditions
        .environments
        .iter()
        .find(|glob| glob.as_str().starts_with("prod"));
    let production = production.filter(|_| !guarded)?;
    let message = format!(
        "whoever can start a pipeline can name the environment {:?} in it: ask for `protected_branches_only` or \
         `protected_environments_only` too",
        production.as_str()
    );
    Some(Finding::on(entry, Lint::OpenEnvironment, message))
}

/// Sources of pipelines that never run for a tag.
const NEVER_TAGS: &[&str] = &[
    "external_pull_request_event",
    "merge_group",
    "merge_request_event",
    "pull_request",
    "pull_request_target",
];

fn contradiction(entry: &Entry) -> Option<Finding> {
    let conditions = &entry.conditions;
    let sources = &conditions.pipeline_sources;
    let never_tags = !sources.is_empty()
        && sources
            .iter()
            .all(|source| NEVER_TAGS.contains(&source.as_str()));
    let message = "no job can match: `ref_type: tag`, but no pipeline of these `pipeline_sources` runs for a tag";
    (never_tags && conditions.ref_type == Some(RefType::Tag))
        .then(|| Finding::on(entry, Lint::Contradiction, message))
}

fn impossible_path(entry: &Entry) -> Option<Finding> {
    let id = entry.rule.id()?;
    let key = id.key();
    let finding = |message| Some(Finding::on(entry, Lint::ImpossiblePath, message));
    if let Some(path) = key.strip_suffix(".git") {
        return finding(format!(
            "no path ends with `.git`; write it as in the address of the project's page: {path:?}"
        ));
    }
    if key.ends_with(".atom") {
        return finding("no path ends with `.atom`".to_owned());
    }
    let alone = entry.rule.tier() == Tier::Project && !key.contains('/');
    let message = format!(
        "{:?} is no full path: a project is in a group, `group/{id}`",
        id.as_str()
    );
    alone.then_some(message).and_then(finding)
}

/// The paths that must be groups', and by which entry, for each provider.
struct Groups<'a>(HashMap<(Option<&'a str>, String), &'a Entry>);

impl<'a> Groups<'a> {
    fn of(entries: &'a [Entry]) -> Self {
        let mut groups = HashMap::new();
        for entry in entries {
            let Some(id) = entry.rule.id() else { continue };
            let own = (entry.rule.tier() == Tier::Group).then(|| id.clone());
            for group in own.into_iter().chain(id.ancestors()) {
                let key = (entry.rule.provider(), group.key());
                groups.entry(key).or_insert(entry);
            }
        }
        Self(groups)
    }

    /// A path that is a group's can not be a project's too.
    fn group_or_project(&self, entry: &Entry) -> Option<Finding> {
        let id = entry.rule.id()?;
        if entry.rule.tier() != Tier::Project {
            return None;
        }
        let other = self.0.get(&(entry.rule.provider(), id.key()))?;
        let message = format!(
            "{:?} is named as a project here, but {} makes it a group: groups belong under `groups`",
            id.as_str(),
            other.rule
        );
        Some(Finding::on(entry, Lint::GroupOrProject, message))
    }
}
