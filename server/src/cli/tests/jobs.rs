//! `job-token` and `kubeconfig`.

use super::*;

const SERVER: &str = "https://tunnel.example.com:8154";

async fn server() -> (Store, Authenticator) {
    let store = Store::in_memory().await.unwrap();
    let authenticator = Authenticator::new(Config::default(), store.clone())
        .await
        .unwrap();
    agent(&store, "create acme/infra:prod").await.unwrap();
    (store, authenticator)
}

/// Runs `kubeconfig` with the flags of `line` and `token` on standard input.
async fn kubeconfig(
    store: &Store,
    authenticator: &Authenticator,
    line: &str,
    token: &str,
) -> anyhow::Result<String> {
    noted_kubeconfig(store, authenticator, line, token, &mut Vec::new()).await
}

async fn noted_kubeconfig(
    store: &Store,
    authenticator: &Authenticator,
    line: &str,
    token: &str,
    acts: &mut Vec<Act>,
) -> anyhow::Result<String> {
    #[derive(clap::Parser)]
    #[command(no_binary_name = true)]
    struct Line {
        #[command(flatten)]
        args: kubeconfig::Args,
    }
    let line = <Line as clap::Parser>::try_parse_from(line.split_whitespace())?;
    let agents = store.agents().await?;
    let cluster = Cluster {
        server: SERVER.to_owned(),
        ca_pem: None,
    };
    let mut out = Vec::new();
    let allow = |agent: crate::identity::Agent| Allowed {
        agent,
        namespace: Some("shop".to_owned()),
    };
    let allowed = |_: &_| agents.into_iter().map(|one| allow(one.agent)).collect();
    let mut stdin = io::Cursor::new(token.to_owned());
    kubeconfig::run(
        &line.args,
        authenticator,
        &cluster,
        allowed,
        acts,
        &mut stdin,
        &mut out,
    )
    .await?;
    Ok(String::from_utf8(out)?)
}

#[tokio::test]
async fn issue_prints_a_good_token_alone() {
    let (store, authenticator) = server().await;
    let line = "issue --project acme/shop --ref main --ttl 5m";
    let printed = job_token(&authenticator, &store, line).await.unwrap();
    let token = JobCredential::new(printed.strip_suffix('\n').unwrap()).unwrap();
    let job = authenticator.authenticate_job(&token).await.unwrap();
    assert_eq!(
        (
            job.identity.project.path.as_str(),
            job.identity.git_ref.as_deref()
        ),
        ("acme/shop", Some("main"))
    );

    let listed = read(
        &job_token(&authenticator, &store, "list --json")
            .await
            .unwrap(),
    );
    assert_eq!(
        (&listed[0]["state"], &listed[0]["job"]),
        (&"valid".into(), &"acme/shop, ref main".into())
    );
    let revoke = format!("revoke {}", listed[0]["id"].as_str().unwrap());
    job_token(&authenticator, &store, &revoke).await.unwrap();
    authenticator.authenticate_job(&token).await.unwrap_err();
    let table = job_token(&authenticator, &store, "list").await.unwrap();
    assert!(
        table.lines().nth(1).unwrap().contains("  revoked  20"),
        "{table}"
    );
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let (store, authenticator) = server().await;
    for (line, says) in [
        (
            "issue --project acme/shop --ttl 2d",
            "at most 1d (authn.local_job_tokens.max_lifetime)",
        ),
        ("issue --project acme/shop --provider gitlab", "--provider"),
        ("issue --project /", "--project"),
        (
            "revoke nothing",
            "see `job-token list`, or revoke it all the same with --unlisted",
        ),
    ] {
        let error = job_token(&authenticator, &store, line)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(says), "{line}: {error}");
    }
    assert_eq!(
        parse::<job_token::Command>("issue")
            .unwrap_err()
            .exit_code(),
        2
    );
    job_token(&authenticator, &store, "revoke nothing --unlisted")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_kubeconfig_works_and_only_at_its_agent() {
    let (store, authenticator) = server().await;
    let token = job_token(&authenticator, &store, "issue --project acme/shop")
        .await
        .unwrap();
    let line = "--token-file - --context acme/infra:prod --lifetime 2h --json";
    let mut acts = Vec::new();
    let made = noted_kubeconfig(&store, &authenticator, line, &token, &mut acts).await;
    let document = read(&made.unwrap());
    assert_eq!(document["current-context"], "acme/infra:prod");
    assert_eq!(document["contexts"][0]["context"]["namespace"], "shop");

    let bearer = document["users"][0]["user"]["token"].as_str().unwrap();
    let header = format!("Bearer {bearer}").parse().unwrap();
    let headers = [(http::header::AUTHORIZATION, header)]
        .into_iter()
        .collect();
    let credential = Credential::from_headers(&headers).unwrap();
    assert_eq!(credential.agent, AgentId(1));
    let job = authenticator.authenticate(&credential).await.unwrap();
    assert_eq!(
        (job.identity.project.path.as_str(), job.bound_agent),
        ("acme/shop", Some(AgentId(1)))
    );
    let issued: Vec<_> = acts.iter().flat_map(|act| &act.issued).collect();
    assert_eq!(issued.len(), 1);
    assert_eq!(
        (issued[0].agent.name.as_str(), issued[0].token.as_str()),
        ("acme/infra:prod", job.token.as_str())
    );
}

#[tokio::test]
async fn a_kubeconfig_is_refused_with_what_to_do() {
    let (store, authenticator) = server().await;
    let token = job_token(&authenticator, &store, "issue --project acme/shop")
        .await
        .unwrap();
    for (line, stdin, says) in [
        ("--token-file -", "", "standard input"),
        (
            "--token-file -",
            "nonsense",
            "no method of this server knows such a credential",
        ),
        ("--token-file /nonexistent/token", "", "/nonexistent/token"),
        (
            "--token-file - --context acme/infra:dev",
            &token,
            "it may use acme/infra:prod",
        ),
        (
            "--token-file - --lifetime 13h",
            &token,
            "authn.sessions.max_lifetime",
        ),
    ] {
        let error = kubeconfig(&store, &authenticator, line, stdin)
            .await
            .unwrap_err();
        assert!(format!("{error:#}").contains(says), "{line}: {error:#}");
    }
    agent(&store, "delete 1").await.unwrap();
    let error = kubeconfig(&store, &authenticator, "--token-file -", &token)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no rule lets this job of acme/shop use any agent"),
        "{error}"
    );
}
