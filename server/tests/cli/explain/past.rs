//! A past request, from its line in the audit log.

use serde_json::{Value, json};

use super::{PROD, explain, parsed, place};

/// A line as the audit writes it.
fn line(id: &str, more: &Value) -> String {
    let mut line = json!({
        "time": "2026-11-23T21:45:37.023641961Z", "request_id": id, "client": "192.0.2.9:57962",
        "agent": {"id": 1, "name": "acme/infra:prod"}, "token": "486974ed",
        "job": {"provider": "local", "project": {"path": "acme/app"}, "job_id": "7", "ref": "main"},
        "method": "GET", "path": "/api/v1/namespaces/shop/pods", "verb": "list", "resource": "pods", "namespace": "shop",
        "bytes_up": 0, "bytes_down": 0, "duration_ms": 1, "end": "complete",
    });
    for (key, value) in more.as_object().unwrap() {
        line[key] = value.clone();
    }
    format!("{line}\n")
}

#[tokio::test]
async fn a_past_request_is_explained_then_and_now() {
    let place = place().await;
    let revision = parsed(&explain(&place, &["1", "--project=acme/app", "--format=json"]).await);
    let revision = &revision["rules"]["revision"];
    let permit = json!({
        "rule": "projects[0] (line 3, \"acme/app\")", "revision": revision, "status": 200,
        "kubernetes": {
            "as": "gitlab:ci_job:7", "groups": ["gitlab:ci_job", "ci-tunnel:project:acme/app"],
            "extra": {
                "agent.gitlab.com/id": ["1"], "agent.gitlab.com/ci_job_id": ["7"], "agent.ci-tunnel.dev/ref": ["main"],
                "agent.ci-tunnel.dev/provider": ["local"],
            },
        },
    });
    let denied = json!({
        "job": {"provider": "local", "project": {"path": "acme/app"}, "job_id": "7", "ref": "topic"},
        "revision": "0123456789ab", "status": 403, "end": {"refused": "denied"},
        "message": "this job may not use agent acme/infra:prod: projects[0] (line 9, \"acme/app\") names the project",
    });
    let stranger = json!({
        "job": null, "agent": null, "token": null, "status": 401, "end": {"refused": "unauthenticated"},
        "message": "the credential has expired: get a new one",
    });
    let log = line("aa01", &permit) + &line("aa02", &denied) + &line("aa03", &stranger);
    place.write("state/audit.log", &log);

    let same = explain(&place, &["--request=aa01"]).await;
    assert_eq!(same.code, Some(0), "{same:?}");
    let begin = "request aa01 of 2026-11-23T21:45:37Z: list pods in namespace shop, answered 200\n  \
                 job: acme/app of local, job 7, ref main\n  \
                 then: allowed by projects[0] (line 3, \"acme/app\"), as gitlab:ci_job:7\n  \
                 now: the same\n  rules: the same file as then\n\nallowed: acme/app may use acme/infra:prod\n";
    assert!(same.stdout.starts_with(begin), "{}", same.stdout);

    let other = explain(&place, &["--request=aa02"]).await;
    assert_eq!(other.code, Some(1), "{other:?}");
    for says in [
        "now: it is denied for another reason now\n",
        "rules: changed since: revision 0123456789ab then, ",
        "because: projects[0] (line 3",
    ] {
        assert!(other.stdout.contains(says), "{says}: {}", other.stdout);
    }
    let message = place.fails(2, &["explain", "--request=aa03"]).await;
    assert_eq!(
        message,
        "request aa03 was refused before it was known whose it is: the credential has expired: get a new one"
    );
    let message = place.fails(2, &["explain", "--request=aa04"]).await;
    assert!(
        message.starts_with("no request aa04 in the audit log"),
        "{message}"
    );

    // Got with a credential that was revoked since.
    let session = json!({"parents": ["key:1", "feed0001"]});
    place.write("state/audit.log", &(log + &line("aa05", &session)));
    let good = explain(&place, &["--request=aa05"]).await;
    assert_eq!(good.code, Some(0), "{good:?}");
    place
        .ok(&["job-token", "revoke", "feed0001", "--unlisted"])
        .await;
    let revoked = explain(&place, &["--request=aa05"]).await;
    assert_eq!(revoked.code, Some(1), "{revoked:?}");
    assert!(
        revoked.stdout.contains("has been revoked since"),
        "{revoked:?}"
    );

    place.write(PROD, "ci_access: {}\n");
    let cut = parsed(&explain(&place, &["--request=aa01", "--format=json"]).await);
    let request = &cut["request"];
    assert_eq!(
        (
            &request["allowed"],
            &cut["allowed"],
            &request["rules_changed"]
        ),
        (&json!(true), &json!(false), &json!(true))
    );
    assert_eq!(
        request["differences"],
        json!(["it was allowed then, and is denied now"])
    );
}
