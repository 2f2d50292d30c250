//! Asking GitLab: `GET /api/v4/job/allowed_agents` and, once a token, `GET /api/v4/job`; their answers → a job.
//!
//! The first tells ids alone, and rules speak of paths: the second has the job's address, which holds the project's path.

use std::sync::Arc;
use std::time::SystemTime;

use ci_tunnel::config::value::Secret;
use http::header::HeaderName;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Standing, shape};
use crate::authn::{Error, http as client};
use crate::identity::{Environment, Group, JobIdentity, Project, ProjectPath, RefType, User};

/// One GitLab.
#[derive(Debug)]
pub(super) struct Gitlab {
    client: client::Client,
    url: String,
    /// What it calls itself in the addresses that it answers.
    own_url: String,
}

/// Why GitLab did not say whose a token is.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("it does not know the token")]
    Refused,
    #[error("{0}")]
    Unreachable(String),
    #[error("{0}")]
    Unusable(String),
}

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
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) id: u64,
    pipeline: u64,
    project: u64,
    path: ProjectPath,
    git_ref: Option<String>,
    ref_type: Option<RefType>,
    source: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct AllowedAgent {
    pub(super) id: u64,
    pub(super) config_project: ConfigProject,
    pub(super) configuration: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ConfigProject {
    pub(super) path_with_namespace: ProjectPath,
}

#[derive(Debug, Deserialize)]
struct AllowedAnswer {
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
struct JobAnswer {
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

const JOB_TOKEN: HeaderName = HeaderName::from_static("job-token");

impl Gitlab {
    pub(super) fn new(client: client::Client, url: &str, own_url: &str) -> Self {
        Self {
            client,
            url: url.to_owned(),
            own_url: own_url.trim_end_matches('/').to_owned(),
        }
    }

    /// Whether `token` may be shown to this GitLab: one that names another would tell it that one's secret.
    pub(super) fn check_issuer(&self, token: &str, now: SystemTime) -> Result<(), Error> {
        let Some(claimed) = shape::claimed(token) else {
            return Ok(());
        };
        let own = |issuer: &String| {
            host(&self.own_url).eq_ignore_ascii_case(issuer)
                || host(&self.url).eq_ignore_ascii_case(issuer)
        };
        if !claimed.iss.as_ref().is_none_or(own) {
            return Err(Error::Malformed("it is a job token of another GitLab"));
        }
        if claimed.has_expired(now) {
            return Err(Error::Expired);
        }
        Ok(())
    }

    /// Whose `token` is; `known`: what it was before, whose job is not asked about again.
    pub(super) async fn ask(
        &self,
        token: &Secret,
        known: Option<&Standing>,
    ) -> Result<Allowed, Failure> {
        let allowed = self.get::<AllowedAnswer>("job/allowed_agents", token);
        let (allowed, job) = match known {
            Some(known) => (allowed.await?, Arc::clone(&known.job)),
            None => {
                let job = self.get::<JobAnswer>("job", token);
                let (allowed, job) = tokio::join!(allowed, job);
                (allowed?, Arc::new(self.job(job?)?))
            }
        };
        let told = (allowed.job.id, allowed.pipeline.id, allowed.project.id);
        if told != (job.id, job.pipeline, job.project) {
            return Err(Failure::Unusable(
                "its two answers speak of different jobs".to_owned(),
            ));
        }
        Ok(Allowed {
            agents: allowed.allowed_agents,
            job,
            project: allowed.project,
            user: allowed.user,
            environment: allowed.environment,
        })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, token: &Secret) -> Result<T, Failure> {
        let url = format!("{}/api/v4/{path}", self.url);
        match self.client.get(&url, Some((JOB_TOKEN, token))).await {
            Ok(answer) => Ok(answer.value),
            Err(client::Error::Status {
                status: 401 | 403 | 404,
                ..
            }) => Err(Failure::Refused),
            Err(error @ client::Error::Unreachable { .. }) => {
                Err(Failure::Unreachable(error.to_string()))
            }
            Err(error) => Err(Failure::Unusable(error.to_string())),
        }
    }

    fn job(&self, answer: JobAnswer) -> Result<Job, Failure> {
        let JobAnswer { id, web_url, .. } = &answer;
        let unusable = || {
            Failure::Unusable(format!(
                "it calls the job {web_url:?}, which is not of {}: when that is its external_url, set \
                 job_tokens.external_url to it",
                self.own_url
            ))
        };
        let path = project_path(&self.own_url, web_url, *id).ok_or_else(unusable)?;
        Ok(Job {
            id: *id,
            pipeline: answer.pipeline.id,
            project: answer.pipeline.project_id,
            path,
            ref_type: ref_type(answer.git_ref.as_deref(), answer.tag),
            git_ref: answer.git_ref,
            source: answer.pipeline.source,
        })
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

/// Merge requests have refs that are neither (`refs/merge-requests/7/head`).
fn ref_type(git_ref: Option<&str>, tag: Option<bool>) -> Option<RefType> {
    match (git_ref?, tag?) {
        (_, true) => Some(RefType::Tag),
        (name, false) if name.starts_with("refs/") => None,
        (_, false) => Some(RefType::Branch),
    }
}

/// The host of an address, without its port.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    host.rsplit_once(':').map_or(host, |(host, _)| host)
}

impl Allowed {
    /// The job, in this server's words. What GitLab does not tell stays unknown: the environment's name, and whether it
    /// or the ref is protected.
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
            ref_protected: None,
            environment: self.environment.as_ref().map(|environment| Environment {
                name: None,
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
