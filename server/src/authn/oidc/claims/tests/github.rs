//! GitHub's.

use super::*;
use crate::identity::RefType;

fn github() -> Identify {
    identify(json!({"name": "github", "type": "github", "oidc": {"audiences": ["x"]}}))
}

fn claims() -> Value {
    json!({
        "sub": "repo:evil/evil:environment:production",
        "actor": "ann",
        "actor_id": "55",
        "check_run_id": "81234567890",
        "environment": "production",
        "event_name": "push",
        "head_ref": "",
        "ref": "refs/heads/main",
        "ref_protected": "true",
        "ref_type": "branch",
        "repository": "acme/shop",
        "repository_id": "74",
        "repository_owner": "acme",
        "repository_owner_id": "65",
        "run_attempt": "2",
        "run_id": "1234567890",
        "runner_environment": "github-hosted",
    })
}

#[test]
fn all_that_a_token_says() {
    let job = read(&github(), &claims()).unwrap();
    assert_eq!(
        (job.provider.as_str(), job.identity_prefix.as_deref()),
        ("github", Some("github"))
    );
    assert_eq!(
        (job.project.path.as_str(), job.project.id),
        ("acme/shop", Some(74))
    );
    assert_eq!(groups(&job), [("acme", Some(65))]);
    assert_eq!(job.job_id.as_deref(), Some("81234567890"));
    assert_eq!(job.pipeline_id.as_deref(), Some("1234567890"));
    assert_eq!(job.pipeline_source.as_deref(), Some("push"));
    assert_eq!(job.git_ref.as_deref(), Some("main"));
    assert_eq!(
        (job.ref_type, job.ref_protected),
        (Some(RefType::Branch), Some(true))
    );
    let environment = job.environment.unwrap();
    assert_eq!(environment.name.as_deref().unwrap(), "production");
    assert_eq!((environment.tier, environment.protected), (None, None));
    let user = job.user.unwrap();
    assert_eq!((user.login.as_str(), user.id), ("ann", Some(55)));
}

#[test]
fn refs() {
    for (full, name, kind) in [
        (
            "refs/heads/feature/x",
            Some("feature/x"),
            Some(RefType::Branch),
        ),
        (
            "refs/heads/refs/heads/main",
            Some("refs/heads/main"),
            Some(RefType::Branch),
        ),
        ("refs/tags/v1", Some("v1"), Some(RefType::Tag)),
        ("refs/pull/7/merge", None, None),
        ("refs/pull/7/head", None, None),
        ("refs/heads/", None, None),
        ("main", None, None),
        ("REFS/HEADS/main", None, None),
    ] {
        let job = read(&github(), &with(&claims(), "ref", full)).unwrap();
        assert_eq!(
            (job.git_ref.as_deref(), job.ref_type),
            (name, kind),
            "{full}"
        );
        // GitHub says `true` of the base branch of a pull request.
        assert_eq!(job.ref_protected.is_some(), name.is_some(), "{full}");
    }
}

#[test]
fn jobs_have_names_even_where_check_runs_are_not_told() {
    let old = without(&claims(), "check_run_id");
    let job = read(&github(), &old).unwrap();
    assert_eq!(job.job_id.as_deref(), Some("1234567890-2"));
    let job = read(&github(), &without(&old, "run_attempt")).unwrap();
    assert_eq!(job.job_id, None);
}

#[test]
fn claims_that_make_a_token_void() {
    for path in NO_PATHS {
        void(
            &github(),
            &with(&claims(), "repository", path),
            "repository",
        );
    }
    for path in ["shop", "acme/shop/more"] {
        void(
            &github(),
            &with(&claims(), "repository", path),
            "repository",
        );
    }
    for owner in ["acm", "acme-evil", "evil"] {
        void(
            &github(),
            &with(&claims(), "repository_owner", owner),
            "repository_owner",
        );
    }
    for name in ["repository", "repository_id"] {
        void(&github(), &without(&claims(), name), name);
    }
    for name in ["repository_id", "run_id", "check_run_id", "actor_id"] {
        void(&github(), &with(&claims(), name, "7a"), name);
    }
    void(
        &github(),
        &with(&claims(), "ref_protected", "yes"),
        "ref_protected",
    );
}
