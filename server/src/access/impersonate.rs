//! As whom a permitted job acts in the cluster: GitLab's names for `ci_job` and `ci_user`, or the file's own templates.
//!
//! Where a number that GitLab's names are made of is unknown (the job is not GitLab's), the same group stands under
//! `ci-tunnel:` with the lower-cased path in its place, so that no other system's project can pass for a GitLab one.

use ci_tunnel::protocol::identity::{Impersonation, KubernetesIdentity, MAX_VALUE, MAX_VALUES};

use super::template::{Template, Unrenderable, ref_type};
use crate::identity::{Agent, JobIdentity, ProjectPath, User};

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
    /// Who the job is in the cluster.
    pub(super) fn identity(
        &self,
        job: &JobIdentity,
        agent: &Agent,
    ) -> Result<KubernetesIdentity, Unrenderable> {
        let identity = match self {
            Self::Agent => return Ok(KubernetesIdentity::Agent),
            Self::CiJob => ci_job(job, agent)?,
            Self::CiUser => ci_user(job, agent)?,
            Self::Impersonate(templates) => templates.render(job, agent)?,
        };
        check(&identity)?;
        Ok(KubernetesIdentity::Impersonate(identity))
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

fn ci_job(job: &JobIdentity, agent: &Agent) -> Result<Impersonation, Unrenderable> {
    let id = job
        .job_id
        .as_deref()
        .ok_or(Unrenderable::Unknown("job_id"))?;
    Ok(Impersonation {
        username: format!("gitlab:ci_job:{id}"),
        uid: None,
        groups: job_groups(job),
        extra: extra(job, agent),
    })
}

/// The order is GitLab's: the job, its project's groups, its project, its environment.
fn job_groups(job: &JobIdentity) -> Vec<String> {
    let environment = job.environment.as_ref();
    let tier = environment
        .and_then(|environment| environment.tier.as_deref())
        .filter(|tier| !tier.is_empty());
    let slug = environment
        .and_then(|environment| environment.slug.as_deref())
        .filter(|slug| !slug.is_empty());
    let mut groups = vec!["gitlab:ci_job".to_owned()];
    for group in &job.groups {
        let named = Named::new(group.id, &group.path);
        groups.push(named.name("group", None));
        groups.extend(tier.map(|tier| named.name("group_env_tier", Some(tier))));
    }
    let project = Named::new(job.project.id, &job.project.path);
    groups.push(project.name("project", None));
    groups.extend(slug.map(|slug| project.name("project_env", Some(slug))));
    groups.extend(tier.map(|tier| project.name("project_env_tier", Some(tier))));
    groups
}

fn ci_user(job: &JobIdentity, agent: &Agent) -> Result<Impersonation, Unrenderable> {
    let user = job
        .user
        .as_ref()
        .filter(|user| !user.login.is_empty())
        .ok_or(Unrenderable::Unknown("user_login"))?;
    let project = Named::new(job.project.id, &job.project.path);
    let mut groups = vec!["gitlab:user".to_owned()];
    groups.extend(
        roles(user)
            .into_iter()
            .map(|role| project.name("project_role", Some(role))),
    );
    Ok(Impersonation {
        username: format!("gitlab:user:{}", user.login),
        uid: None,
        groups,
        extra: extra(job, agent),
    })
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

/// A project or group as groups' names write it.
struct Named {
    vendor: &'static str,
    key: String,
}

impl Named {
    fn new(id: Option<u64>, path: &ProjectPath) -> Self {
        match id {
            Some(id) => Self {
                vendor: "gitlab",
                key: id.to_string(),
            },
            None => Self {
                vendor: "ci-tunnel",
                key: path.key(),
            },
        }
    }

    fn name(&self, kind: &str, detail: Option<&str>) -> String {
        let Self { vendor, key } = self;
        match detail {
            Some(detail) => format!("{vendor}:{kind}:{key}:{detail}"),
            None => format!("{vendor}:{kind}:{key}"),
        }
    }
}

/// What is known, in GitLab's order, then what GitLab does not tell.
fn extra(job: &JobIdentity, agent: &Agent) -> Vec<(String, String)> {
    let project = job.project.id.map(|id| id.to_string());
    let config_project = project
        .clone()
        .filter(|_| job.project.path == agent.project);
    let environment = job.environment.as_ref();
    let pairs = [
        ("agent.gitlab.com/id", Some(agent.id.to_string())),
        ("agent.gitlab.com/config_project_id", config_project),
        ("agent.gitlab.com/project_id", project),
        ("agent.gitlab.com/ci_pipeline_id", job.pipeline_id.clone()),
        ("agent.gitlab.com/ci_job_id", job.job_id.clone()),
        (
            "agent.gitlab.com/username",
            job.user.as_ref().map(|user| user.login.clone()),
        ),
        (
            "agent.gitlab.com/environment_slug",
            environment.and_then(|environment| environment.slug.clone()),
        ),
        (
            "agent.gitlab.com/environment_tier",
            environment.and_then(|environment| environment.tier.clone()),
        ),
        ("agent.ci-tunnel.dev/provider", Some(job.provider.clone())),
        ("agent.ci-tunnel.dev/ref", job.git_ref.clone()),
        (
            "agent.ci-tunnel.dev/ref_type",
            job.ref_type.map(|kind| ref_type(kind).to_owned()),
        ),
        (
            "agent.ci-tunnel.dev/ref_protected",
            job.ref_protected.map(|protected| protected.to_string()),
        ),
    ];
    let known = pairs
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)));
    known.filter(|(_, value)| !value.is_empty()).collect()
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
