//! GitLab's entries as permits and denials.

use ci_tunnel::protocol::identity::KubernetesIdentity;
use serde_json::json;

use super::*;
use crate::access::{Outcome, explain};

fn agent(id: u64) -> Agent {
    Agent {
        id: AgentId(id),
        project: "acme/infra".parse().unwrap(),
        name: "prod".parse().unwrap(),
    }
}

fn job() -> JobIdentity {
    let job = json!({
        "provider": "gitlab",
        "identity_prefix": "gitlab",
        "project": {"path": "acme/shop", "id": 7},
        "groups": [{"path": "acme", "id": 3}],
        "job_id": "4711",
    });
    serde_json::from_value(job).unwrap()
}

fn granted(authorize: Authorize, configuration: &serde_json::Value) -> Granted {
    let listed = Listed::read("Acme/Infra".parse().unwrap(), 70, Some(configuration));
    let agents = [
        (AgentId(42), Grant::Listed(listed)),
        (AgentId(43), Grant::NotGivenHere),
    ];
    Granted {
        authorize,
        agents: agents.into(),
    }
}

fn rules(yaml: &str) -> Rules {
    let rules = Rules::parse(yaml, "config.yaml").unwrap();
    rules.of_provider(Some("gitlab"))
}

#[test]
fn an_entry_of_gitlab_becomes_a_permit_that_says_so() {
    let entry =
        json!({"access_as": {"ci_job": {}}, "default_namespace": "shop", "environments": ["prod"]});
    let granted = granted(Authorize::Gitlab, &entry);
    let nobody = Rules::nobody();
    let permit = granted.decide(&job(), &agent(42), &nobody).unwrap();
    assert_eq!(
        permit.rule().to_string(),
        "GitLab's configuration of agent 42"
    );
    assert_eq!(permit.access_as(), AccessAs::CiJob);
    assert_eq!(permit.default_namespace(), Some("shop"));
    let KubernetesIdentity::Impersonate(who) = permit.identity() else {
        panic!("{permit:?}");
    };
    assert_eq!(who.username, "gitlab:ci_job:4711");
    let config_project = (
        "agent.gitlab.com/config_project_id".to_owned(),
        "70".to_owned(),
    );
    assert!(who.extra.contains(&config_project), "{who:?}");
    assert_eq!(
        who.groups,
        ["gitlab:ci_job", "gitlab:group:3", "gitlab:project:7"]
    );
    let explained = granted.explain(&job(), &agent(42), &nobody);
    assert_eq!(explained.considered[0].outcome, Outcome::Won);
}

#[test]
fn no_entry_is_the_agents_own_identity_and_a_strange_one_is_none() {
    for plain in [
        json!(null),
        json!({}),
        json!({"access_as": null}),
        json!({"access_as": {}}),
    ] {
        let granted = granted(Authorize::Gitlab, &plain);
        let permit = granted.decide(&job(), &agent(42), &Rules::nobody());
        assert_eq!(permit.unwrap().access_as(), AccessAs::Agent, "{plain}");
    }
    for strange in [
        json!({"access_as": {"ci_jobs": {}}}),
        json!({"acces_as": {}}),
        json!({"refs": ["main"]}),
        json!([]),
        json!(7),
    ] {
        let granted = granted(Authorize::Gitlab, &strange);
        let outcome = granted.decide(&job(), &agent(42), &Rules::nobody());
        assert!(
            matches!(outcome, Err(Denied::Unreadable { .. })),
            "{strange}: {outcome:?}"
        );
    }
}

#[test]
fn both_means_both() {
    let entry = json!({"access_as": {"impersonate": {"username": "root"}}});
    let (in_, out) = (
        rules("ci_access: { projects: [{ id: acme/shop, access_as: { ci_job: {} } }] }"),
        rules("ci_access: { implicit: false }"),
    );
    let both = granted(Authorize::Both, &entry);
    let permit = both.decide(&job(), &agent(42), &in_).unwrap();
    assert_eq!(permit.access_as(), AccessAs::CiJob, "by the file here");
    assert!(matches!(
        both.decide(&job(), &agent(42), &out),
        Err(Denied::NotNamed { .. })
    ));
    let denied = |id| both.decide(&job(), &agent(id), &in_).unwrap_err();
    assert!(matches!(denied(7), Denied::NotListed { .. }));
    assert!(matches!(denied(43), Denied::IdNotGiven { .. }));
    // The agents that have these ids here are others, of which the job may know nothing.
    assert!(denied(7).is_secret() && denied(43).is_secret());
    let elsewhere = Agent {
        project: "acme/other".parse().unwrap(),
        ..agent(42)
    };
    let denied = both.decide(&job(), &elsewhere, &in_).unwrap_err();
    assert!(matches!(denied, Denied::OtherConfigProject { .. }));
    assert!(denied.is_secret());
}

#[test]
fn the_configuration_alone_needs_nothing_of_gitlab() {
    let rules = rules("ci_access: { projects: [{ id: acme/shop }] }");
    let config = Granted {
        authorize: Authorize::Config,
        agents: HashMap::new(),
    };
    let (here, plain) = (
        config.decide(&job(), &agent(7), &rules),
        decide::decide(&job(), &agent(7), &rules),
    );
    assert_eq!(here, plain);
    let explained = config.explain(&job(), &agent(7), &rules).considered;
    assert_eq!(explained, explain(&job(), &agent(7), &rules).considered);
}
