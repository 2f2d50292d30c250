//! `agent` and `agent token`.

use std::time::SystemTime;

use super::*;

#[tokio::test]
async fn create_prints_id_token_and_command() {
    let store = Store::in_memory().await.unwrap();
    let printed = agent(&store, "create acme/infra:prod").await.unwrap();
    assert!(
        printed.starts_with("Agent acme/infra:prod has the id 1.\n"),
        "{printed}"
    );
    assert!(
        printed.contains(".gitlab/agents/prod/config.yaml"),
        "{printed}"
    );
    let token = printed
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("citagent-"))
        .unwrap();
    let command = format!(
        "CI_TUNNEL_TOKEN={token} ci-tunnel-agent run --server tunnel.example.com:8155 --pin sha256:abc\n"
    );
    assert!(printed.contains(&command), "{printed}");
    let token: AgentToken = token.parse().unwrap();
    let (found, _) = store
        .verify_agent_token(&token, SystemTime::now())
        .await
        .unwrap();
    assert_eq!(found.id, AgentId(1));

    let json = read(
        &agent(
            &store,
            "create acme/infra:dev --name blue --expires 90d --json",
        )
        .await
        .unwrap(),
    );
    assert_eq!(
        (&json["id"], &json["project"], &json["name"]),
        (&2.into(), &"acme/infra".into(), &"dev".into())
    );
    assert!(
        json["token"]
            .as_str()
            .unwrap()
            .parse::<AgentToken>()
            .is_ok()
    );
    assert!(
        json["expires_at"].as_str().unwrap().ends_with('Z'),
        "{json}"
    );
}

#[tokio::test]
async fn what_exists_or_does_not_is_said_with_what_to_do() {
    let store = Store::in_memory().await.unwrap();
    agent(&store, "create acme/infra:prod").await.unwrap();
    for (line, says) in [
        (
            "create ACME/infra:prod",
            "agent acme/infra:prod exists already: its id is 1",
        ),
        (
            "show acme/infra:dev",
            "no agent acme/infra:dev: is it acme/infra:prod? See `agent list`",
        ),
        ("delete 9", "no agent 9: see `agent list`"),
        ("token create 9", "no agent 9"),
        ("token revoke 9", "no agent token 9: see `agent token list`"),
    ] {
        let error = agent(&store, line).await.unwrap_err().to_string();
        assert!(error.contains(says), "{line}: {error}");
    }
}

#[tokio::test]
async fn list_and_show() {
    let store = Store::in_memory().await.unwrap();
    assert_eq!(agent(&store, "list").await.unwrap(), "ID  AGENT  CREATED\n");
    assert_eq!(agent(&store, "list --json").await.unwrap(), "[]\n");
    agent(&store, "create acme/infra:prod").await.unwrap();
    let listed = agent(&store, "list").await.unwrap();
    assert!(
        listed
            .lines()
            .nth(1)
            .unwrap()
            .starts_with("1   acme/infra:prod  20"),
        "{listed}"
    );
    assert_eq!(
        read(&agent(&store, "list --json").await.unwrap())[0]["name"],
        "prod"
    );

    for line in ["show 1", "show Acme/infra:prod"] {
        let shown = agent(&store, line).await.unwrap();
        assert!(
            shown.contains("agent:    acme/infra:prod\nid:       1\n"),
            "{shown}"
        );
        assert!(shown.contains("1      default  valid"), "{shown}");
        assert!(!shown.contains("citagent-"), "{shown}");
    }
    let json = read(&agent(&store, "show 1 --json").await.unwrap());
    assert_eq!(
        (
            &json["tokens"][0]["state"],
            &json["tokens"][0]["last_used_at"]
        ),
        (&"valid".into(), &Value::Null)
    );
}

#[tokio::test]
async fn tokens_come_and_go() {
    let store = Store::in_memory().await.unwrap();
    agent(&store, "create acme/infra:prod").await.unwrap();
    let json = read(
        &agent(&store, "token create 1 --name next --json")
            .await
            .unwrap(),
    );
    let token: AgentToken = json["token"].as_str().unwrap().parse().unwrap();
    assert_eq!(json["id"], 2);
    let printed = agent(&store, "token create acme/infra:prod").await.unwrap();
    assert!(
        printed.starts_with("Agent acme/infra:prod has a new token, number 3.\n"),
        "{printed}"
    );

    assert_eq!(
        agent(&store, "token revoke 2").await.unwrap(),
        "Token 2 is revoked.\n"
    );
    let refused = store.verify_agent_token(&token, SystemTime::now()).await;
    assert!(matches!(refused, Err(Refusal::Revoked)));
    let json = read(&agent(&store, "token list 1 --json").await.unwrap());
    let states: Vec<_> = json
        .as_array()
        .unwrap()
        .iter()
        .map(|token| &token["state"])
        .collect();
    assert_eq!(states, ["valid", "revoked", "valid"]);
    let listed = agent(&store, "token list 1").await.unwrap();
    assert!(
        listed
            .lines()
            .nth(2)
            .unwrap()
            .starts_with("2      next     revoked"),
        "{listed}"
    );

    agent(&store, "delete acme/infra:prod").await.unwrap();
    let printed = agent(&store, "create acme/infra:prod").await.unwrap();
    assert!(
        printed.starts_with("Agent acme/infra:prod has the id 2."),
        "{printed}"
    );
}

#[test]
fn wrong_usage_is_refused_before_anything_is_done() {
    for line in [
        "create prod",
        "create acme/infra:Prod",
        "create acme/infra:prod --expires 90",
        "show",
        "show prod",
        "token revoke x",
        "token",
    ] {
        let error = parse::<agent::Command>(line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}: {error}");
        assert_ne!(error.kind(), ErrorKind::DisplayHelp, "{line}");
    }
}

#[tokio::test]
async fn an_agent_has_the_id_that_is_given() {
    let store = Store::in_memory().await.unwrap();
    let printed = agent(&store, "create acme/infra:prod --id 4242")
        .await
        .unwrap();
    assert!(
        printed.starts_with("Agent acme/infra:prod has the id 4242.\n"),
        "{printed}"
    );
    let shown = agent(&store, "show acme/infra:prod").await.unwrap();
    assert!(shown.contains("4242, as GitLab's"), "{shown}");
    let shown = read(&agent(&store, "show 4242 --json").await.unwrap());
    assert_eq!(shown["id_given"], true);
    let taken = agent(&store, "create acme/infra:dev --id 4242").await;
    let taken = taken.unwrap_err().to_string();
    assert!(taken.contains("the agent id 4242 is taken"), "{taken}");
}
