//! GitLab's.

use super::*;
use crate::identity::RefType;

fn gitlab(forks: &str) -> Identify {
    identify(json!({
        "name": "gitlab", "type": "gitlab", "url": "https://gitlab.example.com",
        "oidc": {"audiences": ["x"], "forks": forks},
    }))
}

fn claims() -> Value {
    json!({
        "sub": "project_path:evil/evil:ref_type:branch:ref:evil",
        "namespace_id": "3",
        "namespace_path": "acme/team",
        "project_id": "7",
        "project_path": "acme/team/shop",
        "job_project_id": "7",
        "job_project_path": "acme/team/shop",
        "user_id": "5",
        "user_login": "ann",
        "user_email": "ann@example.com",
        "user_access_level": "maintainer",
        "pipeline_id": "99",
        "pipeline_source": "push",
        "job_id": "4711",
        "ref": "main",
        "ref_type": "branch",
        "ref_protected": "true",
        "runner_environment": "self-hosted",
        "environment": "production/eu",
        "environment_protected": "true",
        "deployment_tier": "production",
        "ci_config_sha": null,
    })
}

#[test]
fn all_that_a_token_says() {
    let job = read(&gitlab("deny"), &claims()).unwrap();
    assert_eq!(job.provider, "gitlab");
    assert_eq!(
        (job.project.path.as_str(), job.project.id),
        ("acme/team/shop", Some(7))
    );
    assert_eq!(groups(&job), [("acme/team", Some(3)), ("acme", None)]);
    assert_eq!(job.job_id.as_deref(), Some("4711"));
    assert_eq!(job.pipeline_id.as_deref(), Some("99"));
    assert_eq!(job.pipeline_source.as_deref(), Some("push"));
    assert_eq!(job.git_ref.as_deref(), Some("main"));
    assert_eq!(job.ref_type, Some(RefType::Branch));
    assert_eq!(job.ref_protected, Some(true));
    assert_eq!(job.runner_environment.as_deref(), Some("self-hosted"));
    let environment = job.environment.unwrap();
    assert_eq!(environment.name.as_deref().unwrap(), "production/eu");
    assert_eq!(environment.slug.as_deref(), Some("production-eu-ytgffm"));
    assert_eq!(environment.tier.as_deref(), Some("production"));
    assert_eq!(environment.protected, Some(true));
    let user = job.user.unwrap();
    assert_eq!((user.login.as_str(), user.id), ("ann", Some(5)));
    assert_eq!(user.email.as_deref(), Some("ann@example.com"));
    assert_eq!(user.roles, ["maintainer"]);
}

#[test]
fn what_a_token_does_not_say_is_unknown() {
    let least =
        json!({"project_path": "acme/shop", "project_id": "7", "environment": "", "ref": null});
    let job = read(&gitlab("deny"), &least).unwrap();
    assert_eq!(groups(&job), [("acme", None)]);
    assert_eq!(
        (&job.job_id, &job.pipeline_id, &job.git_ref),
        (&None, &None, &None)
    );
    assert_eq!((job.ref_protected, job.ref_type), (None, None));
    assert!(job.environment.is_none() && job.user.is_none());
    for name in ["project_path", "project_id"] {
        void(&gitlab("deny"), &without(&claims(), name), name);
    }
}

#[test]
fn numbers_are_digits_and_booleans_are_words() {
    let gitlab = gitlab("deny");
    for name in [
        "project_id",
        "namespace_id",
        "user_id",
        "pipeline_id",
        "job_id",
        "job_project_id",
    ] {
        for value in [
            json!("07"),
            json!("+7"),
            json!("-7"),
            json!("7.0"),
            json!("7e0"),
            json!(" 7"),
            json!("0x7"),
            json!("７"),
            json!("18446744073709551616"),
            json!("seven"),
            json!(-7),
            json!(7.5),
            json!([7]),
            json!(true),
        ] {
            void(&gitlab, &with(&claims(), name, value), name);
        }
    }
    for name in ["ref_protected", "environment_protected"] {
        for value in [
            json!("True"),
            json!("TRUE"),
            json!("1"),
            json!("yes"),
            json!("t"),
            json!("true "),
            json!(1),
            json!(""),
            json!(["true"]),
        ] {
            void(&gitlab, &with(&claims(), name, value), name);
        }
    }
    let job = read(&gitlab, &with(&claims(), "ref_protected", "false")).unwrap();
    assert_eq!(job.ref_protected, Some(false));
}

#[test]
fn texts_are_texts() {
    let gitlab = gitlab("deny");
    for name in [
        "ref",
        "environment",
        "user_login",
        "pipeline_source",
        "deployment_tier",
    ] {
        for value in [
            json!(7),
            json!(["main"]),
            json!({}),
            json!("ma\nin"),
            json!("x".repeat(1025)),
        ] {
            void(&gitlab, &with(&claims(), name, value), name);
        }
    }
    for value in ["tags", "Branch", "branch "] {
        void(&gitlab, &with(&claims(), "ref_type", value), "ref_type");
    }
}

#[test]
fn paths_that_look_like_another() {
    let gitlab = gitlab("deny");
    for path in NO_PATHS {
        for name in ["project_path", "namespace_path", "job_project_path"] {
            void(&gitlab, &with(&claims(), name, path), name);
        }
    }
}

#[test]
fn a_namespace_is_what_the_project_is_in() {
    let gitlab = gitlab("deny");
    for path in [
        "acme",
        "acme/tea",
        "acme/team/shop",
        "acme/team-evil",
        "other/team",
    ] {
        void(
            &gitlab,
            &with(&claims(), "namespace_path", path),
            "namespace_path",
        );
    }
    let job = read(&gitlab, &with(&claims(), "namespace_path", "Acme/Team")).unwrap();
    assert_eq!(groups(&job), [("acme/team", Some(3)), ("acme", None)]);
}

#[test]
fn pipelines_for_forks() {
    let fork = with(
        &with(&claims(), "job_project_path", "parent/shop"),
        "job_project_id",
        "1",
    );
    let error = read(&gitlab("deny"), &fork).unwrap_err();
    assert!(matches!(error, Error::Fork { .. }), "{error}");
    let message = error.to_string();
    assert!(
        message.contains("acme/team/shop") && message.contains("parent/shop"),
        "{message}"
    );
    // One of the two is enough to tell.
    for (name, value) in [("job_project_path", "parent/shop"), ("job_project_id", "1")] {
        let error = read(&gitlab("deny"), &with(&claims(), name, value)).unwrap_err();
        assert!(matches!(error, Error::Fork { .. }), "{name}: {error}");
    }
    // Allowed, it is the fork's job, of which nobody vouches for a protected ref, environment or role.
    let job = read(&gitlab("allow"), &fork).unwrap();
    assert_eq!(job.project.path.as_str(), "acme/team/shop");
    assert_eq!(job.ref_protected, None);
    assert_eq!(job.environment.unwrap().protected, None);
    assert!(job.user.unwrap().roles.is_empty());
}

#[test]
fn older_gitlabs_do_not_tell_who_runs_the_job() {
    let old = without(&without(&claims(), "job_project_path"), "job_project_id");
    let job = read(&gitlab("deny"), &old).unwrap();
    assert_eq!(job.ref_protected, Some(true));
    let source = |source: &str| with(&old, "pipeline_source", source);
    for claims in [
        source("merge_request_event"),
        source("parent_pipeline"),
        without(&old, "pipeline_source"),
    ] {
        let job = read(&gitlab("deny"), &claims).unwrap();
        assert_eq!(job.ref_protected, None);
        assert_eq!(job.environment.unwrap().protected, None);
    }
    let told = with(&claims(), "pipeline_source", "parent_pipeline");
    let job = read(&gitlab("deny"), &told).unwrap();
    assert_eq!(job.ref_protected, Some(true));
}
