//! GitLab's answers about a job token → a job in this server's words.

use std::sync::Arc;

use serde::Deserialize;

use crate::identity::{Environment, Group, JobIdentity, Project, ProjectPath, RefType, User};

/// What GitLab says of a token.
#[derive(Debug)]
pub(super) struct Allowed {
    pub(super) agents: Vec<AllowedAgent>,
    pub(super) job: Arc<Job>,
    project: AnsweredProject,
    user: AnsweredUser,
    environment: Option<AnsweredEnvironment>,
}

/// What of a job does not change while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) id: u64,
    pipeline: u64,
    pub(super) project: u64,
    path: ProjectPath,
    pub(super) git_ref: Option<String>,
    pub(super) ref_type: Option<RefType>,
    source: Option<String>,
    details: Details,
}

/// What of a job GitLab tells by further endpoints; unknown where it was not asked, or does not show it to the job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Details {
    pub(super) ref_protected: Option<bool>,
    /// Of the environment with a slug, its name.
    pub(super) environment: Option<(String, String)>,
}

#[derive(Debug, Deserialize)]
pub(super) struct AllowedAgent {
    pub(super) id: u64,
    pub(super) config_project: ConfigProject,
    pub(super) configuration: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ConfigProject {
    pub(super) id: u64,
    pub(super) path_with_namespace: ProjectPath,
}

#[derive(Debug, Deserialize)]
pub(super) struct AllowedAnswer {
    allowed_agents: Vec<AllowedAgent>,
    job: Numbered,
    pipeline: Numbered,
    project: AnsweredProject,
    user: AnsweredUser,
    environment: Option<AnsweredEnvironment>,
}

#[derive(Debug, Deserialize)]
struct Numbered {
    id: u64,
}

#[derive(Debug, Deserialize)]
struct AnsweredProject {
    id: u64,
    /// The project's own group first, then outwards.
    #[serde(default)]
    groups: Vec<Numbered>,
}

#[derive(Debug, Deserialize)]
struct AnsweredUser {
    id: u64,
    username: String,
    #[serde(default)]
    roles_in_project: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct AnsweredEnvironment {
    slug: Option<String>,
    tier: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct JobAnswer {
    id: u64,
    web_url: String,
    #[serde(rename = "ref")]
    git_ref: Option<String>,
    tag: Option<bool>,
    pipeline: AnsweredPipeline,
}

#[derive(Debug, Deserialize)]
struct AnsweredPipeline {
    id: u64,
    project_id: u64,
    source: Option<String>,
}

impl AllowedAnswer {
    /// This, when it is of `job`.
    pub(super) fn of(self, job: Arc<Job>) -> Result<Allowed, String> {
        let told = (self.job.id, self.pipeline.id, self.project.id);
        if told != (job.id, job.pipeline, job.project) {
            return Err("its two answers speak of different jobs".to_owned());
        }
        Ok(Allowed {
            agents: self.allowed_agents,
            job,
            project: self.project,
            user: self.user,
            environment: self.environment,
        })
    }
}

impl JobAnswer {
    /// The job, of the GitLab that calls itself `own_url`.
    pub(super) fn job(self, own_url: &str) -> Result<Job, String> {
        let Self { id, web_url, .. } = &self;
        let path = project_path(own_url, web_url, *id).ok_or_else(|| {
            format!(
                "it calls the job {web_url:?}, which is not of {own_url}: when that is its external_url, set \
                 job_tokens.external_url to it"
            )
        })?;
        let kind = ref_type(self.git_ref.as_deref(), self.tag);
        Ok(Job {
            id: *id,
            pipeline: self.pipeline.id,
            project: self.pipeline.project_id,
            path,
            ref_type: kind,
            git_ref: self.git_ref.filter(|_| kind.is_some()),
            source: self.pipeline.source,
            details: Details::default(),
        })
    }
}

impl Job {
    pub(super) fn with(&self, details: Details) -> Self {
        Self {
            details,
            ..self.clone()
        }
    }

    fn environment_name(&self, slug: Option<&str>) -> Option<String> {
        let (of, name) = self.details.environment.as_ref()?;
        (slug? == of).then(|| name.clone())
    }
}

/// `<own url>/<path>/-/jobs/<id>` → path.
fn project_path(own_url: &str, web_url: &str, job: u64) -> Option<ProjectPath> {
    let path = web_url.strip_prefix(own_url)?.strip_prefix('/')?;
    let path = path.strip_suffix(&format!("/-/jobs/{job}"))?;
    // Every project is in a group or in its owner's namespace.
    path.parse()
        .ok()
        .filter(|path: &ProjectPath| path.ancestors().next().is_some())
}

/// What a ref is; merge requests have refs that are neither branches nor tags (`refs/merge-requests/7/head`).
fn ref_type(git_ref: Option<&str>, tag: Option<bool>) -> Option<RefType> {
    match (git_ref?, tag?) {
        (_, true) => Some(RefType::Tag),
        (name, false) if name.starts_with("refs/") => None,
        (_, false) => Some(RefType::Branch),
    }
}

impl Allowed {
    pub(super) fn environment_slug(&self) -> Option<&str> {
        self.environment.as_ref()?.slug.as_deref()
    }

    /// The job, in this server's words. What GitLab does not tell stays unknown: whether the environment is protected, and
    /// what was not to be looked up.
    pub(super) fn identity(&self, provider: &str, prefix: &str) -> Result<JobIdentity, String> {
        let job = &self.job;
        Ok(JobIdentity {
            provider: provider.to_owned(),
            identity_prefix: Some(prefix.to_owned()),
            groups: self.groups()?,
            project: Project {
                path: job.path.clone(),
                id: Some(job.project),
            },
            job_id: Some(job.id.to_string()),
            pipeline_id: Some(job.pipeline.to_string()),
            pipeline_source: job.source.clone(),
            git_ref: job.git_ref.clone(),
            ref_type: job.ref_type,
            ref_protected: job.details.ref_protected,
            environment: self.environment.as_ref().map(|environment| Environment {
                name: job.environment_name(environment.slug.as_deref()),
                slug: environment.slug.clone(),
                tier: environment.tier.clone(),
                protected: None,
            }),
            user: Some(User {
                login: self.user.username.clone(),
                id: Some(self.user.id),
                email: None,
                roles: self.user.roles_in_project.clone(),
            }),
            runner_environment: None,
            expires_at: None,
        })
    }

    /// A project of a user is in no group, though its path has one part more than its name.
    fn groups(&self) -> Result<Vec<Group>, String> {
        let ids = &self.project.groups;
        let paths: Vec<_> = self.job.path.ancestors().collect();
        if !ids.is_empty() && ids.len() != paths.len() {
            return Err(format!(
                "it lists {} groups of {}, whose path has {}",
                ids.len(),
                self.job.path,
                paths.len()
            ));
        }
        let group = |(path, id): (ProjectPath, &Numbered)| Group {
            path,
            id: Some(id.id),
        };
        Ok(paths.into_iter().zip(ids).map(group).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://example.com/gitlab";

    #[test]
    fn the_path_is_read_from_an_address_of_this_gitlab_alone() {
        let path = |url| project_path(URL, url, 7).map(|path| path.to_string());
        let good = "https://example.com/gitlab/acme/team/shop/-/jobs/7";
        assert_eq!(path(good).as_deref(), Some("acme/team/shop"));
        for url in [
            "https://example.com/acme/team/shop/-/jobs/7",
            "https://example.com/gitlab-evil/acme/shop/-/jobs/7",
            "https://example.com/gitlab/acme/shop/-/jobs/77",
            "https://example.com/gitlab/acme/shop/-/jobs/7?a",
            "https://example.com/gitlab/acme/shop/-/jobs/7/-/jobs/7/",
            "https://example.com/gitlab//shop/-/jobs/7",
            "https://example.com/gitlab/shop/-/jobs/7",
            "https://example.com/gitlab/acme/sh op/-/jobs/7",
            "http://example.com/gitlab/acme/shop/-/jobs/7",
            "",
        ] {
            assert_eq!(path(url), None, "{url}");
        }
    }

    #[test]
    fn a_ref_is_a_branch_a_tag_or_neither() {
        assert_eq!(ref_type(Some("main"), Some(false)), Some(RefType::Branch));
        assert_eq!(ref_type(Some("v1"), Some(true)), Some(RefType::Tag));
        assert_eq!(
            ref_type(Some("refs/merge-requests/7/head"), Some(false)),
            None
        );
        assert_eq!(ref_type(Some("main"), None), None);
        assert_eq!(ref_type(None, Some(false)), None);
    }
}
