//! GitLab's claims. Numbers and booleans come as texts.
//!
//! Where a pipeline for a merge request from a fork runs in the parent project, `project_*`, `namespace_*`, `ref*` are the
//! fork's, and `job_project_*` (GitLab 18.4 and later) is the parent's.

use super::super::config::Forks;
use super::{Claims, Error, slug, unknown_job};
use crate::identity::{Environment, JobIdentity, Project, RefType, User};

pub(super) fn job(claims: &Claims<'_>, forks: Forks) -> Result<JobIdentity, Error> {
    let project = project(claims)?;
    let origin = origin(claims, &project)?;
    if let (Origin::Fork { runs_in }, Forks::Deny) = (&origin, forks) {
        return Err(Error::Fork {
            project: project.path.to_string(),
            runs_in: runs_in.clone(),
        });
    }
    let own = matches!(origin, Origin::Own);
    let mut job = unknown_job(project.path, project.id);
    set_namespace(&mut job, claims)?;
    job.job_id = number_text(claims, "job_id")?;
    job.pipeline_id = number_text(claims, "pipeline_id")?;
    job.pipeline_source = claims.named("pipeline_source").owned_text()?;
    job.git_ref = claims.named("ref").owned_text()?;
    job.ref_type = ref_type(claims)?;
    // A branch of a fork that is called `main` is not the protected one of the project that runs the job.
    job.ref_protected = claims.named("ref_protected").boolean()?.filter(|_| own);
    job.environment = environment(claims, own)?;
    job.user = user(claims, own)?;
    job.runner_environment = claims.named("runner_environment").owned_text()?;
    Ok(job)
}

/// Whose code a job runs, seen from the project that runs it.
enum Origin {
    Own,
    Fork {
        runs_in: String,
    },
    /// A merge request's pipeline on a GitLab before 18.4, or the child of one that may be.
    Unknown,
}

fn project(claims: &Claims<'_>) -> Result<Project, Error> {
    let (path, id) = (claims.named("project_path"), claims.named("project_id"));
    Ok(Project {
        path: path.required(path.path()?)?,
        id: Some(id.required(id.number()?)?),
    })
}

fn origin(claims: &Claims<'_>, project: &Project) -> Result<Origin, Error> {
    let path = claims.named("job_project_path").path()?;
    let id = claims.named("job_project_id").number()?;
    let same = path.as_ref().is_none_or(|path| *path == project.path)
        && id.is_none_or(|id| Some(id) == project.id);
    if !same {
        let runs_in = path.map(|path| path.to_string());
        return Ok(Origin::Fork {
            runs_in: runs_in.unwrap_or_else(|| "another project".to_owned()),
        });
    }
    let told = path.is_some() || id.is_some();
    let source = claims.named("pipeline_source").text()?;
    Ok(match source {
        // The child of a merge request's pipeline is of the same code.
        Some("merge_request_event" | "parent_pipeline") | None if !told => Origin::Unknown,
        _ => Origin::Own,
    })
}

/// The number of the direct namespace: the token tells those of no others.
fn set_namespace(job: &mut JobIdentity, claims: &Claims<'_>) -> Result<(), Error> {
    let claim = claims.named("namespace_path");
    let id = claims.named("namespace_id").number()?;
    let Some(path) = claim.path()? else {
        return Ok(());
    };
    match job.groups.first_mut() {
        Some(group) if group.path == path => {
            group.id = id;
            Ok(())
        }
        _ => Err(claim.error("must be what project_path is in")),
    }
}

fn ref_type(claims: &Claims<'_>) -> Result<Option<RefType>, Error> {
    let claim = claims.named("ref_type");
    match claim.text()? {
        None => Ok(None),
        Some("branch") => Ok(Some(RefType::Branch)),
        Some("tag") => Ok(Some(RefType::Tag)),
        Some(_) => Err(claim.error("must be `branch` or `tag`")),
    }
}

fn environment(claims: &Claims<'_>, own: bool) -> Result<Option<Environment>, Error> {
    let protected = claims.named("environment_protected").boolean()?;
    let tier = claims.named("deployment_tier").owned_text()?;
    let environment = claims.named("environment").owned_text()?;
    Ok(environment.map(|name| Environment {
        slug: Some(slug::of_environment(&name)),
        name: Some(name),
        tier,
        protected: protected.filter(|_| own),
    }))
}

/// The role is that in the project that runs the job, so no role where that is another.
fn user(claims: &Claims<'_>, own: bool) -> Result<Option<User>, Error> {
    let role = claims.named("user_access_level").owned_text()?;
    let id = claims.named("user_id").number()?;
    let email = claims.named("user_email").owned_text()?;
    let login = claims.named("user_login").owned_text()?;
    Ok(login.map(|login| User {
        login,
        id,
        email,
        roles: role.filter(|_| own).into_iter().collect(),
    }))
}

fn number_text(claims: &Claims<'_>, name: &'static str) -> Result<Option<String>, Error> {
    let number = claims.named(name).number()?;
    Ok(number.map(|number| number.to_string()))
}
