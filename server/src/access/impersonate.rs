//! As whom a permitted job acts in the cluster: the names that GitLab gives for `ci_job` and `ci_user`, under the prefix
//! of the job's own provider, or the file's own templates.
//!
//! No two providers have one prefix, so no job can pass for one of another provider. [`names`] makes the names.

mod names;

use std::sync::Arc;

use ci_tunnel::protocol::identity::{Impersonation, KubernetesIdentity, MAX_VALUE, MAX_VALUES};

use super::template::{Template, Unrenderable, ref_type};
use crate::identity::{Agent, JobIdentity, User};
pub(super) use names::KINDS;
use names::Names;
pub use names::is_identity_prefix;

/// What an entry says under `access_as`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Source {
    #[default]
    Agent,
    CiJob,
    CiUser,
    Impersonate(Box<Templates>),
}

/// `access_as: impersonate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Templates {
    pub(super) username: Template,
    pub(super) uid: Option<Template>,
    pub(super) groups: Vec<Template>,
    pub(super) extra: Vec<(String, Template)>,
}

impl Source {
    /// Who the job is in the cluster. `config_project`: the number of the agent's configuration project, where known.
    pub(super) fn identity(
        &self,
        job: &JobIdentity,
        agent: &Agent,
        config_project: Option<u64>,
    ) -> Result<KubernetesIdentity, Unrenderable> {
        let of_job = |(username, groups)| {
            Ok(Impersonation {
                username,
                uid: None,
                groups,
                extra: extra(job, agent, config_project, Names::of(job)?.key_domain()),
            })
        };
        let identity = match self {
            Self::Agent => return Ok(KubernetesIdentity::Agent),
            Self::CiJob => of_job(ci_job(job)?)?,
            Self::CiUser => of_job(ci_user(job)?)?,
            Self::Impersonate(templates) => templates.render(job, agent)?,
        };
        check(&identity)?;
        Ok(KubernetesIdentity::Impersonate(Arc::new(identity)))
    }
}

impl Templates {
    fn render(&self, job: &JobIdentity, agent: &Agent) -> Result<Impersonation, Unrenderable> {
        let extra = self
            .extra
            .iter()
            .map(|(key, value)| Ok((key.clone(), value.render(job, agent)?)));
        Ok(Impersonation {
            username: self.username.render(job, agent)?,
            uid: self
                .uid
                .as_ref()
                .map(|uid| uid.render(job, agent))
                .transpose()?,
            groups: self
                .groups
                .iter()
                .map(|group| group.render(job, agent))
                .collect::<Result<_, _>>()?,
            extra: extra.collect::<Result<_, _>>()?,
        })
    }
}

type UserAndGroups = (String, Vec<String>);

fn ci_job(job: &JobIdentity) -> Result<UserAndGroups, Unrenderable> {
    let names = Names::of(job)?;
    let id = job
        .job_id
        .as_deref()
        .ok_or(Unrenderable::Unknown("job_id"))?;
    Ok((names.plain("ci_job", Some(id)), job_groups(job, &names)))
}

/// The order is GitLab's: the job, its project's groups, its project, its environment.
fn job_groups(job: &JobIdentity, names: &Names<'_>) -> Vec<String> {
    let environment = job.environment.as_ref();
    let tier = environment
        .and_then(|environment| environment.tier.as_deref())
        .filter(|tier| !tier.is_empty());
    let slug = environment
        .and_then(|environment| environment.slug.as_deref())
        .filter(|slug| !slug.is_empty());
    let mut groups = vec![names.plain("ci_job", None)];
    for group in &job.groups {
        let name = |kind, detail| names.of_path(kind, group.id, &group.path, detail);
        groups.push(name("group", None));
        groups.extend(tier.map(|tier| name("group_env_tier", Some(tier))));
    }
    let project = |kind, detail| names.of_path(kind, job.project.id, &job.project.path, detail);
    groups.push(project("project", None));
    groups.extend(slug.map(|slug| project("project_env", Some(slug))));
    groups.extend(tier.map(|tier| project("project_env_tier", Some(tier))));
    groups
}

fn ci_user(job: &JobIdentity) -> Result<UserAndGroups, Unrenderable> {
    let names = Names::of(job)?;
    let user = job
        .user
        .as_ref()
        .filter(|user| !user.login.is_empty())
        .ok_or(Unrenderable::Unknown("user_login"))?;
    let mut groups = vec![names.plain("user", None)];
    let role = |role| {
        names.of_path(
            "project_role",
            job.project.id,
            &job.project.path,
            Some(role),
        )
    };
    groups.extend(roles(user).into_iter().map(role));
    Ok((names.plain("user", Some(&user.login)), groups))
}

/// GitLab's roles, the lowest first. Whoever has one has those before it too.
const ROLES: &[&str] = &[
    "guest",
    "planner",
    "reporter",
    "developer",
    "maintainer",
    "owner",
];

fn roles(user: &User) -> Vec<&str> {
    let highest = ROLES
        .iter()
        .rposition(|role| user.roles.iter().any(|held| held == role));
    let mut roles = highest.map_or_else(Vec::new, |highest| ROLES[..=highest].to_vec());
    roles.extend(
        user.roles
            .iter()
            .map(String::as_str)
            .filter(|role| !ROLES.contains(role)),
    );
    roles
}

/// What is known, in GitLab's order, then what GitLab does not tell. A policy that compares numbers under GitLab's keys
/// must not meet those of another system there.
fn extra(
    job: &JobIdentity,
    agent: &Agent,
    config_project: Option<u64>,
    domain: &str,
) -> Vec<(String, String)> {
    let project = job.project.id.map(|id| id.to_string());
    let config_project = config_project.map(|id| id.to_string());
    let environment = job.environment.as_ref();
    let user = job.user.as_ref();
    let ref_protected = job.ref_protected.map(|protected| protected.to_string());
    let of_job = [
        ("id", Some(agent.id.to_string())),
        ("config_project_id", config_project),
        ("project_id", project),
        ("ci_pipeline_id", job.pipeline_id.clone()),
        ("ci_job_id", job.job_id.clone()),
        ("username", user.map(|user| user.login.clone())),
        (
            "environment_slug",
            environment.and_then(|environment| environment.slug.clone()),
        ),
        (
            "environment_tier",
            environment.and_then(|environment| environment.tier.clone()),
        ),
    ];
    let beyond_gitlab = [
        ("provider", Some(job.provider.clone())),
        ("ref", job.git_ref.clone()),
        (
            "ref_type",
            job.ref_type.map(|kind| ref_type(kind).to_owned()),
        ),
        ("ref_protected", ref_protected),
    ];
    let under = |domain: &str, (key, value): (&str, Option<String>)| {
        let value = value.filter(|value| !value.is_empty())?;
        Some((format!("{domain}/{key}"), value))
    };
    let of_job = of_job.into_iter().filter_map(|pair| under(domain, pair));
    let beyond_gitlab = beyond_gitlab
        .into_iter()
        .filter_map(|pair| under(names::OWN_DOMAIN, pair));
    of_job.chain(beyond_gitlab).collect()
}

/// Every value must arrive in the cluster as it is: HTTP drops spaces around a header's value, which would let
/// `" system:masters"` become another name, and control characters would end the header.
fn check(identity: &Impersonation) -> Result<(), Unrenderable> {
    let sound = |value: &str| {
        let plain = value.trim() == value && !value.chars().any(char::is_control);
        plain && !value.is_empty() && value.len() <= MAX_VALUE
    };
    if identity.groups.len().max(identity.extra.len()) > MAX_VALUES {
        return Err(Unrenderable::TooMany);
    }
    let extra = identity.extra.iter().map(|(_, value)| value);
    let mut values = std::iter::once(&identity.username)
        .chain(&identity.uid)
        .chain(&identity.groups)
        .chain(extra);
    match values.find(|value| !sound(value)) {
        Some(value) => Err(Unrenderable::Malformed(value.chars().take(100).collect())),
        None => Ok(()),
    }
}
