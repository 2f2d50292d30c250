//! The rules as their description has them, written plainly and not from the code.

use ci_tunnel_server::access::Tier;
use ci_tunnel_server::identity::JobIdentity;

use crate::draw::{Configuration, Entry};
use crate::names::{Identity, identity};

#[derive(Debug, PartialEq)]
pub(crate) enum Decision {
    Permit {
        tier: Tier,
        index: usize,
        identity: Identity,
    },
    Deny,
}

pub(crate) fn decide(job: &JobIdentity, configuration: &Configuration) -> Decision {
    let project = job.project.path.as_str().to_lowercase();
    let named = |list: &[Entry], path: &str| -> Vec<(usize, Entry)> {
        let entries = list.iter().cloned().enumerate();
        entries
            .filter(|(_, entry)| entry.id.to_lowercase() == path)
            .filter(|(_, entry)| is_about(entry.provider, job, configuration))
            .collect()
    };
    let own = named(&configuration.projects, &project);
    if !own.is_empty() {
        return first(Tier::Project, &own, job, configuration);
    }
    let is_config_project = project == configuration.project.to_lowercase();
    if configuration.implicit && is_config_project && is_about(None, job, configuration) {
        return Decision::Permit {
            tier: Tier::Implicit,
            index: 0,
            identity: Identity::Agent,
        };
    }
    let segments: Vec<_> = project.split('/').collect();
    for length in (1..segments.len()).rev() {
        let group = named(&configuration.groups, &segments[..length].join("/"));
        if !group.is_empty() {
            return first(Tier::Group, &group, job, configuration);
        }
    }
    let instance: Vec<_> = configuration
        .instance
        .iter()
        .filter(|entry| is_about(entry.provider, job, configuration))
        .map(|entry| (0, entry.clone()))
        .collect();
    first(Tier::Instance, &instance, job, configuration)
}

/// An entry is about the projects of the provider that it names, else of the repository's; local jobs are everywhere
/// but where another provider is named.
fn is_about(named: Option<&str>, job: &JobIdentity, configuration: &Configuration) -> bool {
    let provider = Some(job.provider.as_str());
    if named.is_some() {
        return named == provider;
    }
    provider == Some("local") || provider == configuration.provider
}

/// The first entry whose conditions all hold.
fn first(
    tier: Tier,
    entries: &[(usize, Entry)],
    job: &JobIdentity,
    configuration: &Configuration,
) -> Decision {
    let Some((index, entry)) = entries
        .iter()
        .find(|(_, entry)| conditions_hold(entry, job))
    else {
        return Decision::Deny;
    };
    let is_config_project = job.project.path.as_str().to_lowercase()
        == configuration.project.to_lowercase()
        && is_about(None, job, configuration);
    match identity(entry.access_as, job, is_config_project) {
        Some(identity) => Decision::Permit {
            tier,
            index: *index,
            identity,
        },
        None => Decision::Deny,
    }
}

fn conditions_hold(entry: &Entry, job: &JobIdentity) -> bool {
    let environment = job.environment.as_ref();
    let name = environment.and_then(|environment| environment.name.as_deref());
    let environment_protected = environment.and_then(|environment| environment.protected);
    let login = job.user.as_ref().map(|user| user.login.as_str());
    any_of(&entry.environments, name)
        && any_of(&entry.refs, job.git_ref.as_deref())
        && any_of(&entry.sources, job.pipeline_source.as_deref())
        && any_of(&entry.users, login)
        && (entry.ref_type.is_none() || entry.ref_type == job.ref_type)
        && (!entry.protected_branches_only || job.ref_protected == Some(true))
        && (!entry.protected_environments_only || environment_protected == Some(true))
}

/// No pattern asks for nothing; an unknown or empty value satisfies none.
fn any_of(patterns: &[&str], value: Option<&str>) -> bool {
    let known = value.filter(|value| !value.is_empty());
    patterns.is_empty()
        || known.is_some_and(|value| patterns.iter().any(|pattern| glob(pattern, value)))
}

fn glob(pattern: &str, text: &str) -> bool {
    let ends = || (0..=text.len()).filter(|at| text.is_char_boundary(*at));
    if let Some(rest) = pattern.strip_prefix("**") {
        return ends().any(|at| glob(rest, &text[at..]));
    }
    if let Some(rest) = pattern.strip_prefix('*') {
        return ends()
            .take_while(|at| !text[..*at].contains('/'))
            .any(|at| glob(rest, &text[at..]));
    }
    match pattern.chars().next() {
        None => text.is_empty(),
        Some(first) => {
            text.starts_with(first) && glob(&pattern[first.len_utf8()..], &text[first.len_utf8()..])
        }
    }
}
