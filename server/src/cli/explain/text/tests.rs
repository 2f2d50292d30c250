//! What `explain` prints of decisions.

use super::*;
use crate::access::{Rules, explain};
use crate::identity::{Agent, AgentId};

fn rendered(config: &str, git_ref: &str) -> String {
    let agent = Agent {
        id: AgentId(7),
        project: "acme/infra".parse().unwrap(),
        name: "prod".parse().unwrap(),
    };
    let job =
        serde_json::json!({"provider": "local", "project": {"path": "acme/app"}, "ref": git_ref});
    let rules = Rules::parse(config, "config.yaml").unwrap();
    let explanation = explain(&serde_json::from_value(job).unwrap(), &agent, &rules);
    render(&explanation, Some("config.yaml"))
}

const CONFIG: &str = "\
ci_access:
  projects:
  - id: acme/app
    refs: [main]
  - id: acme/app
    refs: ['v*']
    default_namespace: app
    access_as: {impersonate: {username: 'ref:{ref}', uid: u, groups: [g], extra: [{key: example.com/K, val: [v]}]}}
  instance: {}
";

#[test]
fn a_permit_tells_rule_and_headers() {
    let expected = "\
allowed: acme/app may use acme/infra:prod
  by: projects[1] (line 5, \"acme/app\")
  at: config.yaml:5
  as: impersonate
    Impersonate-User: ref:v1
    Impersonate-Uid: u
    Impersonate-Group: g
    Impersonate-Extra-example.com%2fk: v
  default namespace: app

rules that name the project, in the order they are asked:
  - projects[0] (line 3, \"acme/app\")
      refs: ref \"v1\" matches none of \"main\"
  + projects[1] (line 5, \"acme/app\"): decides
    instance (line 9): not asked, a nearer rule names the project
";
    assert_eq!(rendered(CONFIG, "v1"), expected);
}

#[test]
fn a_denial_tells_why() {
    let text = rendered(CONFIG, "topic");
    let expected = "\
denied: acme/app may not use acme/infra:prod
  because: projects[0] (line 3, \"acme/app\") names the project acme/app, but ref \"topic\" matches none of \"main\"
  at: config.yaml:3
";
    assert!(text.starts_with(expected), "{text}");
    assert_eq!(text.matches("\n  - ").count(), 2, "{text}");
    let none = rendered("", "main");
    assert!(
        none.ends_with("names the project acme/app, a group of it, or all projects\n"),
        "{none}"
    );
}

#[test]
fn a_job_is_told_by_what_is_known_of_it() {
    let of = |json| job(&serde_json::from_value(json).unwrap());
    let little = serde_json::json!({"provider": "github", "project": {"path": "acme/app"}});
    assert_eq!(of(little), "acme/app of github");
    let much = serde_json::json!({
        "provider": "gitlab", "project": {"path": "acme/app"}, "job_id": "4711", "ref": "main", "ref_type": "branch",
        "ref_protected": true, "environment": {"name": "prod", "tier": "production", "protected": false},
        "pipeline_source": "push", "user": {"login": "ann"},
    });
    assert_eq!(
        of(much),
        "acme/app of gitlab, job 4711, ref main (branch, protected), environment prod (production, not protected), \
         started by push, user ann"
    );
}

#[test]
fn what_a_stranger_sent_moves_no_cursor() {
    let evil = "a\u{1b}[2Jb\nc";
    let line = |more: &str| {
        let text = format!(
            r#"{{"time":"2026-11-23T21:45:37Z","request_id":"1","bytes_up":0,"bytes_down":0,"duration_ms":0,
            "end":"complete","method":{evil},"path":{evil},"verb":{evil},"namespace":{evil},"name":{evil}{more}}}"#,
            evil = serde_json::to_string(evil).unwrap()
        );
        serde_json::from_str::<Line>(&text).unwrap()
    };
    for more in ["", r#","resource":"pods","subresource":"log\u0007""#] {
        let text = asked(&line(more));
        assert!(!text.contains(char::is_control), "{text:?}");
        assert!(text.contains("a\u{fffd}[2Jb"), "{text:?}");
    }
}
