//! Those of the server's file.

use super::*;
use crate::identity::RefType;

fn provider(claims: Value) -> Value {
    json!({
        "name": "jenkins", "type": "generic", "url": "https://jenkins.example.com/oidc",
        "oidc": {"audiences": ["x"], "claims": claims},
    })
}

fn generic(claims: Value) -> Identify {
    identify(provider(claims))
}

#[test]
fn each_claim_from_where_the_file_says() {
    let generic = generic(json!({
        "project_path": "https://example.com/project",
        "project_id": ["project", "id"],
        "job_id": "build",
        "pipeline_id": "run",
        "pipeline_source": "trigger",
        "ref": "branch",
        "ref_type": "kind",
        "ref_protected": ["project", "protected"],
        "environment": "env",
        "environment_slug": "slug",
        "environment_tier": "tier",
        "environment_protected": "env_protected",
        "user_login": ["who", "name"],
        "user_id": ["who", "number"],
        "user_email": ["who", "mail"],
        "runner_environment": "runner",
    }));
    let job = read(
        &generic,
        &json!({
            "https://example.com/project": "acme/team/shop",
            "project": {"id": 7, "protected": true},
            "build": 12, "run": "r-1", "trigger": "push", "branch": "main", "kind": "branch",
            "env": "prod", "slug": "prod-1", "tier": "production", "env_protected": false,
            "who": {"name": "ann", "number": "5", "mail": "a@b.c"}, "runner": "own",
        }),
    )
    .unwrap();
    assert_eq!(
        (job.provider.as_str(), job.identity_prefix.as_deref()),
        ("jenkins", Some("jenkins"))
    );
    assert_eq!(
        (job.project.path.as_str(), job.project.id),
        ("acme/team/shop", Some(7))
    );
    assert_eq!(groups(&job), [("acme/team", None), ("acme", None)]);
    assert_eq!(
        (job.job_id.as_deref(), job.pipeline_id.as_deref()),
        (Some("12"), Some("r-1"))
    );
    assert_eq!(
        (job.git_ref.as_deref(), job.ref_type),
        (Some("main"), Some(RefType::Branch))
    );
    assert_eq!(job.ref_protected, Some(true));
    let environment = job.environment.unwrap();
    assert_eq!(environment.slug.as_deref(), Some("prod-1"));
    assert_eq!(
        (environment.tier.as_deref(), environment.protected),
        (Some("production"), Some(false))
    );
    let user = job.user.unwrap();
    assert_eq!(
        (user.login.as_str(), user.id, user.email.as_deref()),
        ("ann", Some(5), Some("a@b.c"))
    );
}

#[test]
fn full_names_of_refs_are_understood() {
    let generic = generic(json!({"project_path": "p", "ref": "r", "ref_protected": "s"}));
    for (full, name, kind) in [
        ("refs/heads/main", Some("main"), Some(RefType::Branch)),
        ("refs/tags/v1", Some("v1"), Some(RefType::Tag)),
        ("refs/merge-requests/1/head", None, None),
        ("main", Some("main"), None),
    ] {
        let job = read(&generic, &json!({"p": "a/b", "r": full, "s": "true"})).unwrap();
        assert_eq!(
            (job.git_ref.as_deref(), job.ref_type),
            (name, kind),
            "{full}"
        );
        assert_eq!(job.ref_protected.is_some(), name.is_some(), "{full}");
    }
}

#[test]
fn a_path_of_several_claims_is_of_one_segment_each() {
    let generic =
        generic(json!({"project_path": {"join": ["organization", ["pipeline", "slug"]]}}));
    let claims = |organization: &str, slug: &str| json!({"organization": organization, "pipeline": {"slug": slug}});
    let job = read(&generic, &claims("acme", "shop")).unwrap();
    assert_eq!(job.project.path.as_str(), "acme/shop");
    void(&generic, &claims("acme/shop", "x"), "organization");
    void(&generic, &claims("acme", "team/shop"), "slug");
    void(&generic, &claims("", "shop"), "organization");
    void(&generic, &json!({"organization": "acme"}), "slug");
}

#[test]
fn claims_that_make_a_token_void() {
    let generic = generic(json!({"project_path": "p", "project_id": "i", "ref_type": ["r", "t"]}));
    for path in NO_PATHS {
        void(&generic, &json!({"p": path}), "p");
    }
    void(&generic, &json!({}), "p");
    void(&generic, &json!({"p": "a/b", "i": "8a6f"}), "i");
    void(&generic, &json!({"p": "a/b", "r": {"t": "trunk"}}), "t");
    // What is in another place than the mapping says is not there.
    read(&generic, &json!({"p": "a/b", "r": "x", "r.t": "trunk"})).unwrap();
}

#[test]
fn mappings_that_are_refused() {
    for (claims, message) in [
        (json!({}), "project_path is missing"),
        (json!({"project_path": "sub"}), "`sub` decides nothing"),
        (
            json!({"project_path": "p", "environment": "sub"}),
            "`sub` decides nothing",
        ),
        (json!({"project_path": {"join": []}}), "name one claim"),
        (json!({"project_path": []}), "has no name"),
        (json!({"project_path": ["a", ""]}), "empty name"),
        (
            json!({"project_path": "p", "project": "q"}),
            "unknown field",
        ),
        (
            json!({"project_path": {"join": ["a"], "prefix": "b"}}),
            "did not match",
        ),
    ] {
        let provider = provider(claims.clone());
        let error = serde_json::from_value::<Providers>(json!([provider])).unwrap_err();
        assert!(error.to_string().contains(message), "{claims}: {error}");
    }
}
