//! GitHub Actions' claims. All are texts, and `sub`, whose composition an organization chooses, is not looked at.

use super::{Claims, Error, unknown_job};
use crate::identity::{Environment, JobIdentity, RefType, User};

pub(super) fn job(claims: &Claims<'_>) -> Result<JobIdentity, Error> {
    let repository = claims.named("repository");
    let path = repository.required(repository.path()?)?;
    if path.as_str().matches('/').count() != 1 {
        return Err(repository.error("must be `owner/name`"));
    }
    let id = claims.named("repository_id");
    let mut job = unknown_job(path, Some(id.required(id.number()?)?));
    set_owner(&mut job, claims)?;
    job.pipeline_id = claims.named("run_id").number()?.map(|id| id.to_string());
    job.job_id = job_id(claims, job.pipeline_id.as_deref())?;
    job.pipeline_source = claims.named("event_name").owned_text()?;
    let protected = claims.named("ref_protected").boolean()?;
    if let Some((name, kind)) = claims.named("ref").text()?.and_then(branch_or_tag) {
        job.git_ref = Some(name.to_owned());
        job.ref_type = Some(kind);
        job.ref_protected = protected;
    }
    job.environment = environment(claims)?;
    job.user = user(claims)?;
    job.runner_environment = claims.named("runner_environment").owned_text()?;
    Ok(job)
}

/// The owner is the only group.
fn set_owner(job: &mut JobIdentity, claims: &Claims<'_>) -> Result<(), Error> {
    let claim = claims.named("repository_owner");
    let id = claims.named("repository_owner_id").number()?;
    let Some(owner) = claim.path()? else {
        return Ok(());
    };
    match job.groups.as_mut_slice() {
        [group] if group.path == owner => {
            group.id = id;
            Ok(())
        }
        _ => Err(claim.error("must be what `repository` is of")),
    }
}

/// A check run is one job, once; on servers that do not tell it, all jobs of a run's attempt share a name.
fn job_id(claims: &Claims<'_>, run: Option<&str>) -> Result<Option<String>, Error> {
    if let Some(check_run) = claims.named("check_run_id").number()? {
        return Ok(Some(check_run.to_string()));
    }
    let attempt = claims.named("run_attempt").number()?;
    let named = run.zip(attempt);
    Ok(named.map(|(run, attempt)| format!("{run}-{attempt}")))
}

/// `refs/pull/7/merge` is neither: the merge of somebody's code, on no branch, protected or not.
pub(super) fn branch_or_tag(full: &str) -> Option<(&str, RefType)> {
    let (name, kind) = match full.strip_prefix("refs/heads/") {
        Some(name) => (name, RefType::Branch),
        None => (full.strip_prefix("refs/tags/")?, RefType::Tag),
    };
    (!name.is_empty()).then_some((name, kind))
}

fn environment(claims: &Claims<'_>) -> Result<Option<Environment>, Error> {
    let environment = claims.named("environment").owned_text()?;
    Ok(environment.map(|name| Environment {
        name: Some(name),
        slug: None,
        tier: None,
        protected: None,
    }))
}

fn user(claims: &Claims<'_>) -> Result<Option<User>, Error> {
    let id = claims.named("actor_id").number()?;
    let login = claims.named("actor").owned_text()?;
    Ok(login.map(|login| User {
        login,
        id,
        email: None,
        roles: Vec::new(),
    }))
}
