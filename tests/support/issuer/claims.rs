//! What the tokens of a usual job say, in the form that each CI system gives them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::AUDIENCE;

/// A job for `main` of `acme/team/shop`, without an environment. GitLab writes numbers and booleans as strings.
pub(super) fn gitlab(issuer: &str) -> Value {
    let now = Timestamp::now().as_second();
    json!({
        "iss": issuer,
        "aud": AUDIENCE,
        "sub": "project_path:acme/team/shop:ref_type:branch:ref:main",
        "jti": unique("gitlab"),
        "iat": now,
        "nbf": now - 5,
        "exp": now + 300,
        "namespace_id": "3",
        "namespace_path": "acme/team",
        "project_id": "7",
        "project_path": "acme/team/shop",
        "project_visibility": "private",
        "job_project_id": "7",
        "job_project_path": "acme/team/shop",
        "job_namespace_id": "3",
        "job_namespace_path": "acme/team",
        "user_id": "5",
        "user_login": "ann",
        "user_email": "ann@example.com",
        "user_access_level": "developer",
        "pipeline_id": "99",
        "pipeline_source": "push",
        "job_id": "4711",
        "ref": "main",
        "ref_type": "branch",
        "ref_path": "refs/heads/main",
        "ref_protected": "true",
        "runner_id": 1,
        "runner_environment": "self-hosted",
        "sha": "1ecfd275763eff1d6b4844ea3168962458c9f27a",
        "ci_config_ref_uri": null,
        "ci_config_sha": null,
    })
}

/// A job for `main` of `acme/shop`, without an environment. GitHub writes everything as strings.
pub(super) fn github(issuer: &str) -> Value {
    let now = Timestamp::now().as_second();
    json!({
        "iss": issuer,
        "aud": AUDIENCE,
        "sub": "repo:acme/shop:ref:refs/heads/main",
        "jti": unique("github"),
        "iat": now,
        "nbf": now - 5,
        "exp": now + 300,
        "actor": "ann",
        "actor_id": "55",
        "base_ref": "",
        "check_run_id": "81234567890",
        "event_name": "push",
        "head_ref": "",
        "job_workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main",
        "job_workflow_sha": "1ecfd275763eff1d6b4844ea3168962458c9f27a",
        "ref": "refs/heads/main",
        "ref_protected": "true",
        "ref_type": "branch",
        "repository": "acme/shop",
        "repository_id": "74",
        "repository_owner": "acme",
        "repository_owner_id": "65",
        "repository_visibility": "private",
        "run_attempt": "1",
        "run_id": "1234567890",
        "run_number": "10",
        "runner_environment": "github-hosted",
        "sha": "1ecfd275763eff1d6b4844ea3168962458c9f27a",
        "workflow": "deploy",
        "workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main",
        "workflow_sha": "1ecfd275763eff1d6b4844ea3168962458c9f27a",
    })
}

fn unique(of: &str) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{of}-{}-{number}", std::process::id())
}
