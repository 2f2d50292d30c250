//! Identities in Kubernetes as the documentation has them, written plainly and not from the code.

use ci_tunnel_server::identity::JobIdentity;

use crate::draw::AccessAs;

#[derive(Debug, PartialEq)]
pub(crate) enum Identity {
    Agent,
    Impersonated {
        username: String,
        groups: Vec<String>,
        extra: Vec<(String, String)>,
    },
}

/// None: there is no identity for the job, which denies it.
pub(crate) fn identity(
    access_as: AccessAs,
    job: &JobIdentity,
    is_config_project: bool,
) -> Option<Identity> {
    let path = job.project.path.as_str();
    let (username, groups, extra) = match access_as {
        AccessAs::Agent => return Some(Identity::Agent),
        AccessAs::CiJob => (
            format!("{}:ci_job:{}", prefix(job), job.job_id.as_ref()?),
            job_groups(job),
            extra(job, is_config_project),
        ),
        AccessAs::CiUser => (
            format!("{}:user:{}", prefix(job), known(Some(&user(job)?))?),
            user_groups(job),
            extra(job, is_config_project),
        ),
        AccessAs::Values => {
            let name = job.environment.as_ref()?.name.as_deref();
            let environment = known(name)?;
            let git_ref = known(job.git_ref.as_deref())?;
            let root = path.split_once('/')?.0;
            let name = path.rsplit('/').next()?;
            let username = everybodys(format!("{environment}-{git_ref}"))?;
            let group = everybodys(format!("{root}:{name}"))?;
            (username, vec![group], Vec::new())
        }
        AccessAs::Written => (format!("team:{path}"), Vec::new(), Vec::new()),
    };
    Some(Identity::Impersonated {
        username,
        groups,
        extra,
    })
}

fn known(value: Option<&str>) -> Option<String> {
    value.filter(|value| !value.is_empty()).map(str::to_owned)
}

fn user(job: &JobIdentity) -> Option<String> {
    Some(job.user.as_ref()?.login.clone())
}

fn prefix(job: &JobIdentity) -> &str {
    job.identity_prefix.as_deref().unwrap_or("gitlab")
}

fn name_of(job: &JobIdentity, kind: &str, id: Option<u64>, path: &str) -> String {
    let path = path.to_lowercase();
    let is_number = path.chars().all(|character| character.is_ascii_digit());
    match (id, &job.identity_prefix) {
        (Some(id), _) => format!("{}:{kind}:{id}", prefix(job)),
        (None, Some(prefix)) if is_number => format!("{prefix}:{kind}:/{path}"),
        (None, Some(prefix)) => format!("{prefix}:{kind}:{path}"),
        (None, None) if is_number => format!("ci-tunnel:{kind}:/{path}"),
        (None, None) => format!("ci-tunnel:{kind}:{path}"),
    }
}

fn job_groups(job: &JobIdentity) -> Vec<String> {
    let environment = job.environment.as_ref();
    let tier = environment.and_then(|environment| known(environment.tier.as_deref()));
    let slug = environment.and_then(|environment| known(environment.slug.as_deref()));
    let mut groups = vec![format!("{}:ci_job", prefix(job))];
    for group in &job.groups {
        let name = |kind| name_of(job, kind, group.id, group.path.as_str());
        groups.push(name("group"));
        if let Some(tier) = &tier {
            groups.push(format!("{}:{tier}", name("group_env_tier")));
        }
    }
    let name = |kind| name_of(job, kind, job.project.id, job.project.path.as_str());
    groups.push(name("project"));
    if let Some(slug) = slug {
        groups.push(format!("{}:{slug}", name("project_env")));
    }
    if let Some(tier) = tier {
        groups.push(format!("{}:{tier}", name("project_env_tier")));
    }
    groups
}

/// Whoever has a role has those below it; roles of other systems stand for themselves, behind these.
fn user_groups(job: &JobIdentity) -> Vec<String> {
    const ROLES: &[&str] = &[
        "guest",
        "planner",
        "reporter",
        "developer",
        "maintainer",
        "owner",
    ];
    let held = job.user.as_ref().map_or(&[][..], |user| &user.roles);
    let rank = |role: &String| ROLES.iter().position(|known| known == role);
    let below = held
        .iter()
        .filter_map(rank)
        .max()
        .map_or(0, |rank| rank + 1);
    let others = held.iter().filter(|role| rank(role).is_none());
    let roles = ROLES[..below].iter().map(ToString::to_string);
    let mut groups = vec![format!("{}:user", prefix(job))];
    for role in roles.chain(others.cloned()) {
        let project = name_of(
            job,
            "project_role",
            job.project.id,
            job.project.path.as_str(),
        );
        groups.push(format!("{project}:{role}"));
    }
    groups
}

fn extra(job: &JobIdentity, is_config_project: bool) -> Vec<(String, String)> {
    let domain = match prefix(job) {
        "gitlab" => "agent.gitlab.com",
        _ => "agent.ci-tunnel.dev",
    };
    let environment = job.environment.as_ref();
    let project_id = job.project.id.map(|id| id.to_string());
    let type_of_ref = job.ref_type.map(|kind| format!("{kind:?}").to_lowercase());
    let mut extra = Vec::new();
    for (domain, key, value) in [
        (domain, "id", Some("7".to_owned())),
        (
            domain,
            "config_project_id",
            project_id.clone().filter(|_| is_config_project),
        ),
        (domain, "project_id", project_id),
        (domain, "ci_pipeline_id", job.pipeline_id.clone()),
        (domain, "ci_job_id", job.job_id.clone()),
        (domain, "username", user(job)),
        (
            domain,
            "environment_slug",
            environment.and_then(|environment| environment.slug.clone()),
        ),
        (
            domain,
            "environment_tier",
            environment.and_then(|environment| environment.tier.clone()),
        ),
        (
            "agent.ci-tunnel.dev",
            "provider",
            Some(job.provider.clone()),
        ),
        ("agent.ci-tunnel.dev", "ref", job.git_ref.clone()),
        ("agent.ci-tunnel.dev", "ref_type", type_of_ref),
        (
            "agent.ci-tunnel.dev",
            "ref_protected",
            job.ref_protected.map(|is| is.to_string()),
        ),
    ] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            extra.push((format!("{domain}/{key}"), value));
        }
    }
    extra
}

/// A text made of a job's values that is in no name space that others live by.
fn everybodys(text: String) -> Option<String> {
    const KINDS: &[&str] = &[
        "ci_job",
        "user",
        "group",
        "group_env_tier",
        "project",
        "project_env",
        "project_env_tier",
        "project_role",
    ];
    let reserved = ["system:", "gitlab:", "ci-tunnel:"];
    if reserved.iter().any(|prefix| text.starts_with(prefix)) {
        return None;
    }
    let parts: Vec<_> = text.split(':').collect();
    let label = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !text.starts_with('-')
            && !text.ends_with('-')
    };
    let like_a_name = parts.len() > 1 && label(parts[0]) && KINDS.contains(&parts[1]);
    (!like_a_name).then_some(text)
}
