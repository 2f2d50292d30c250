//! Whom a job is in the cluster, as the API server itself sees it.

use std::collections::BTreeSet;

use anyhow::Result;
use ci_tunnel_tests::client::{Client, Http, full};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::installed::{ACCOUNT, AGENT, Installed, refusal, whoami};

const SHOP: &[&str] = &[
    "--project=acme/team/shop",
    "--project-id=7",
    "--group-id=acme/team=3",
    "--group-id=acme=2",
    "--job-id=4711",
    "--pipeline-id=99",
    "--ref=feature/x",
    "--ref-type=branch",
    "--ref-protected=false",
    "--user=ann",
    "--user-id=5",
];
const PRODUCTION: &[&str] = &[
    "--environment=production/eu",
    "--environment-slug=production-eu-x1",
    "--environment-tier=production",
];

fn shop(more: &[&'static str]) -> Vec<&'static str> {
    [SHOP, more].concat()
}

#[tokio::test]
async fn agent_is_the_service_account_itself() -> Result<()> {
    let Some(installed) = Installed::get("access_as: agent").await else {
        return Ok(());
    };
    let job = installed.job(&["--project=acme/plain"]).await?;
    let who = whoami(&job).await?;
    assert_eq!(who["username"], ACCOUNT, "{who}");
    assert!(who["uid"].is_string(), "{who}");
    // The configuration project itself, which no entry names.
    let own = installed.job(&["--project=acme/infra"]).await?;
    assert_eq!(whoami(&own).await?["username"], ACCOUNT);
    // Which may do nothing by itself.
    let text = refusal(&job, &["get", "secrets", "-A"]).await?;
    assert!(
        text.contains(&format!(
            "User \"{ACCOUNT}\" cannot list resource \"secrets\""
        )),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn ci_job_has_gitlabs_names() -> Result<()> {
    let Some(installed) = Installed::get("access_as: ci_job").await else {
        return Ok(());
    };
    let job = installed.job(&shop(PRODUCTION)).await?;
    let expected = json!({
        "username": "gitlab:ci_job:4711",
        "groups": [
            "gitlab:ci_job",
            "gitlab:group:3",
            "gitlab:group_env_tier:3:production",
            "gitlab:group:2",
            "gitlab:group_env_tier:2:production",
            "gitlab:project:7",
            "gitlab:project_env:7:production-eu-x1",
            "gitlab:project_env_tier:7:production",
            "system:authenticated",
        ],
        "extra": {
            "agent.gitlab.com/id": ["1"],
            "agent.gitlab.com/project_id": ["7"],
            "agent.gitlab.com/ci_pipeline_id": ["99"],
            "agent.gitlab.com/ci_job_id": ["4711"],
            "agent.gitlab.com/username": ["ann"],
            "agent.gitlab.com/environment_slug": ["production-eu-x1"],
            "agent.gitlab.com/environment_tier": ["production"],
            "agent.ci-tunnel.dev/provider": ["local"],
            "agent.ci-tunnel.dev/ref": ["feature/x"],
            "agent.ci-tunnel.dev/ref_type": ["branch"],
            "agent.ci-tunnel.dev/ref_protected": ["false"],
        },
    });
    assert_eq!(whoami(&job).await?, expected);

    // Without an environment, and without numbers: no other system's project passes for one of GitLab's.
    let job = installed
        .job(&["--project=acme/team/shop", "--job-id=abc"])
        .await?;
    let who = whoami(&job).await?;
    let groups = json!([
        "gitlab:ci_job",
        "ci-tunnel:group:acme/team",
        "ci-tunnel:group:acme",
        "ci-tunnel:project:acme/team/shop",
        "system:authenticated"
    ]);
    assert_eq!(
        (&who["username"], &who["groups"]),
        (&json!("gitlab:ci_job:abc"), &groups)
    );
    Ok(())
}

#[tokio::test]
async fn ci_user_has_gitlabs_names() -> Result<()> {
    let Some(installed) = Installed::get("access_as: ci_user").await else {
        return Ok(());
    };
    let flags = [
        "--project=acme/people",
        "--project-id=8",
        "--job-id=1",
        "--user=ann",
        "--user-role=developer",
    ];
    let who = whoami(&installed.job(&flags).await?).await?;
    assert_eq!(who["username"], "gitlab:user:ann");
    let roles = ["guest", "planner", "reporter", "developer"]
        .map(|role| format!("gitlab:project_role:8:{role}"));
    let groups = [
        &["gitlab:user".to_owned()][..],
        &roles,
        &["system:authenticated".to_owned()],
    ]
    .concat();
    assert_eq!(who["groups"], json!(groups));
    assert_eq!(who["extra"]["agent.gitlab.com/username"], json!(["ann"]));
    let nobody = installed.uninvited(1, &["--project=acme/people"]).await?;
    let text = refusal(&nobody, &["get", "pods"]).await?;
    assert!(
        text.contains("(Forbidden)") && text.contains("does not tell its user_login"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn impersonate_tells_name_uid_groups_and_extras() -> Result<()> {
    let Some(installed) = Installed::get("access_as: impersonate").await else {
        return Ok(());
    };
    let expected = json!({
        "username": "robot",
        "uid": "4242-uid",
        "groups": ["robots", "deployers:all of them", "system:authenticated"],
        "extra": {"example.com/team_name%": ["blue", "green", "a=b c"]},
    });
    let who = whoami(&installed.job(&["--project=acme/robots"]).await?).await?;
    assert_eq!(who, expected);
    Ok(())
}

#[tokio::test]
async fn templates_are_filled_in_or_refused() -> Result<()> {
    let Some(installed) = Installed::get("templates").await else {
        return Ok(());
    };
    let flags = [
        "--project=acme/templates",
        "--job-id=12",
        "--ref=v1.0",
        "--ref-type=tag",
        "--user=bob",
    ];
    let known = [
        &flags[..],
        &["--environment=review/ä b", "--environment-tier=testing"],
    ]
    .concat();
    let expected = json!({
        "username": "job:acme/templates:review/ä b",
        "uid": "12",
        "groups": ["tier:testing", "by:bob", "ref:v1.0", "system:authenticated"],
        "extra": {"example.com/ref": ["tag/v1.0", "1"]},
    });
    assert_eq!(whoami(&installed.job(&known).await?).await?, expected);

    for (without, name) in [
        ("--environment-tier", "environment_tier"),
        ("--user", "user_login"),
        ("--job-id", "job_id"),
    ] {
        let less: Vec<&str> = known
            .iter()
            .copied()
            .filter(|flag| !flag.starts_with(&format!("{without}=")))
            .collect();
        let job = installed.uninvited(1, &less).await?;
        let text = refusal(&job, &["get", "pods"]).await?;
        assert!(text.starts_with("Error from server (Forbidden): ci-tunnel: this job may not use agent acme/infra:prod: "), "{text}");
        assert!(
            text.contains(&format!("the job's credential does not tell its {name}")),
            "{text}"
        );
    }
    Ok(())
}

/// What people write for GitLab: a role for the jobs of one environment of one project.
#[tokio::test]
async fn rbac_of_the_jobs_groups_decides() -> Result<()> {
    let Some(installed) = Installed::get("RBAC").await else {
        return Ok(());
    };
    let admin = installed.cluster.kubectl();
    let (open, closed) = (
        installed.cluster.namespace("open").await?,
        installed.cluster.namespace("closed").await?,
    );
    let binding = [
        "create",
        "rolebinding",
        "deployers",
        "--clusterrole=edit",
        "-n",
        &open,
    ];
    let group = "--group=gitlab:project_env:7:production-eu-x1";
    admin.run(binding.into_iter().chain([group])).await?;
    let production = installed.job(&shop(PRODUCTION)).await?;
    let create = [
        "create",
        "configmap",
        "release",
        "--from-literal=version=3",
        "-n",
    ];
    let in_namespace = |namespace| create.into_iter().chain([namespace]).collect::<Vec<&str>>();
    // The API server's authorizer hears of the binding in its own time.
    let can = ["auth", "can-i", "create", "configmaps", "-n", &open, "-q"];
    while !production.output(can).await?.status.success() {}
    production.run(in_namespace(&open)).await?;
    let version = [
        "get",
        "configmap",
        "release",
        "-o",
        "jsonpath={.data.version}",
        "-n",
        &open,
    ];
    assert_eq!(admin.run(version).await?, "3");

    let text = refusal(&production, &in_namespace(&closed)).await?;
    assert!(
        text.contains("User \"gitlab:ci_job:4711\" cannot create resource \"configmaps\""),
        "{text}"
    );
    let staging = shop(&[
        "--environment=staging",
        "--environment-slug=staging",
        "--environment-tier=staging",
    ]);
    for other in [staging, shop(&[])] {
        let text = refusal(&installed.job(&other).await?, &version).await?;
        assert!(
            text.contains("User \"gitlab:ci_job:4711\" cannot get resource"),
            "{text}"
        );
    }

    let uri = format!("/api/v1/namespaces/{open}/configmaps");
    let event = installed
        .cluster
        .audited(|event| event.verb == "create" && event.uri.starts_with(&uri))
        .await?;
    let acted = event.impersonated_user.expect("it was impersonated");
    assert_eq!(
        (event.user.username.as_str(), acted.username.as_str()),
        (ACCOUNT, "gitlab:ci_job:4711")
    );
    assert!(
        acted
            .groups
            .iter()
            .any(|group| group == "gitlab:project_env:7:production-eu-x1"),
        "{acted:?}"
    );
    assert_eq!(acted.extra["agent.gitlab.com/ci_job_id"], ["4711"]);
    Ok(())
}

#[tokio::test]
async fn kubectl_as_is_for_agents_alone() -> Result<()> {
    let Some(installed) = Installed::get("kubectl --as").await else {
        return Ok(());
    };
    let flags = [
        "--as=somebody",
        "--as-group=a group",
        "--as-uid=17",
        "--as-user-extra=scopes=a b",
        "auth",
        "whoami",
        "-o",
        "json",
    ];
    let plain = installed.job(&["--project=acme/plain"]).await?;
    let review: Value = serde_json::from_str(&plain.run(flags).await?)?;
    let expected = json!({
        "username": "somebody",
        "uid": "17",
        "groups": ["a group", "system:authenticated"],
        "extra": {"scopes": ["a b"]},
    });
    assert_eq!(review["status"]["userInfo"], expected);

    for (project, who) in [
        ("--project=acme/robots", "robot"),
        ("--project=acme/team/shop", "gitlab:ci_job:4711"),
    ] {
        let job = installed.job(&[project, "--job-id=4711"]).await?;
        let text = refusal(&job, &["--as=somebody", "get", "pods"]).await?;
        assert!(text.starts_with("Error from server (Forbidden): ci-tunnel: impersonation (kubectl --as) is allowed only where"), "{text}");
        assert!(text.contains(&format!("this job runs as {who}")), "{text}");
        assert_eq!(whoami(&job).await?["username"], who);
    }
    Ok(())
}

/// Many requests of several jobs at once, over the same session of the same agent.
#[tokio::test]
async fn jobs_at_once_do_not_mix() -> Result<()> {
    let Some(installed) = Installed::get("jobs at once").await else {
        return Ok(());
    };
    let mut running = JoinSet::new();
    for number in 0..8_u32 {
        let job_id = format!("--job-id={number}");
        let user = format!("--user=user-{number}");
        let (flags, name) = match number % 4 {
            0 => (
                vec!["--project=acme/team/shop", &job_id],
                format!("gitlab:ci_job:{number}"),
            ),
            1 => (
                vec!["--project=acme/people", &user],
                format!("gitlab:user:user-{number}"),
            ),
            2 => (vec!["--project=acme/robots", &job_id], "robot".to_owned()),
            _ => (vec!["--project=acme/plain", &job_id], ACCOUNT.to_owned()),
        };
        let token = installed.tunnel.job_token(&flags).await?;
        let kubeconfig = installed.tunnel.kubeconfig(&token, "").await?;
        let http = if number < 4 { Http::One } else { Http::Two };
        running.spawn(ask_often(
            installed.tunnel.client_of(&kubeconfig, http)?,
            name,
        ));
    }
    let mut count = 0;
    while let Some(ended) = running.join_next().await {
        count += ended??;
    }
    println!("{count} requests of 8 jobs at once, each as its own job");
    Ok(())
}

async fn ask_often(client: Client, name: String) -> Result<usize> {
    const TIMES: usize = 100;
    let review =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).to_string();
    for _ in 0..TIMES {
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let response = client.post(path, full(review.clone())).await?;
        assert_eq!(response.status(), StatusCode::CREATED, "{response:?}");
        let answer: Value = serde_json::from_slice(response.body())?;
        assert_eq!(answer["status"]["userInfo"]["username"], name.as_str());
    }
    Ok(TIMES)
}

#[tokio::test]
async fn a_kubeconfig_has_namespace_and_no_current_context_unless_asked() -> Result<()> {
    let Some(installed) = Installed::get("contexts").await else {
        return Ok(());
    };
    let tunnel = &installed.tunnel;
    let token = tunnel.job_token(&["--project=acme/plain"]).await?;
    let ask = async |query: &str| -> Result<Value> {
        let response = tunnel
            .client(&token)?
            .get(&format!("/kubeconfig?format=json&{query}"))
            .await?;
        assert_eq!(response.status(), StatusCode::OK, "{response:?}");
        Ok(serde_json::from_slice(response.body())?)
    };
    let without = ask("").await?;
    assert!(without.get("current-context").is_none(), "{without}");
    assert_eq!(
        without["contexts"][0]["context"]["namespace"],
        "plain-things"
    );
    assert_eq!(
        ask(&format!("context={AGENT}")).await?["current-context"],
        AGENT
    );

    // As kubectl understands it.
    let file = installed.account.scratch("kubeconfig");
    std::fs::write(&file, without.to_string())?;
    let kubectl = tunnel.kubectl(&file)?;
    assert_eq!(
        kubectl
            .run(["config", "get-contexts", "-o", "name"])
            .await?,
        format!("{AGENT}\n")
    );
    let text = refusal(&kubectl, &["config", "current-context"]).await?;
    assert!(text.contains("current-context is not set"), "{text}");
    kubectl.run(["config", "use-context", AGENT]).await?;
    let text = refusal(&kubectl, &["get", "pods"]).await?;
    assert!(text.contains("in the namespace \"plain-things\""), "{text}");

    let response = tunnel
        .client(&token)?
        .get("/kubeconfig?context=acme/infra:other")
        .await?;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let text = String::from_utf8(response.body().to_vec())?;
    assert!(
        text.contains("is not one that this job may use; it may use acme/infra:prod"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn a_refused_job_reads_why_and_learns_of_no_agent() -> Result<()> {
    let Some(installed) = Installed::get("refused jobs").await else {
        return Ok(());
    };
    // No rule names the project: the same words as for an agent that does not exist.
    let mut texts = BTreeSet::new();
    for agent in [1, 2, 999_999] {
        let stranger = installed
            .uninvited(agent, &["--project=other/project"])
            .await?;
        let text = refusal(&stranger, &["get", "pods", "-n", "strangers"]).await?;
        let begins = format!(
            "Error from server (Forbidden): ci-tunnel: this job may not use agent {agent}: no rule of"
        );
        assert!(text.starts_with(&begins), "{text}");
        let message = text.split(" (request ").next().unwrap_or_default();
        texts.insert(
            message
                .trim_end()
                .replace(&format!("agent {agent}:"), "agent N:"),
        );
    }
    assert_eq!(texts.len(), 1, "{texts:?}");
    // A rule names it, and asks for more.
    let careful = ["--project=acme/careful", "--job-id=1", "--ref=topic"];
    let text = refusal(
        &installed.uninvited(1, &careful).await?,
        &["get", "pods", "-n", "strangers"],
    )
    .await?;
    assert!(
        text.starts_with("Error from server (Forbidden): ")
            && text.contains("ref \"topic\" matches none of \"main\""),
        "{text}"
    );
    // Nothing of it was asked of the API server.
    let strangers = installed
        .cluster
        .audit(|event| event.uri.contains("/strangers/"))?;
    assert!(strangers.is_empty(), "{strangers:?}");
    let token = installed
        .tunnel
        .job_token(&["--project=other/project"])
        .await?;
    let response = installed.tunnel.client(&token)?.get("/kubeconfig").await?;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let line = installed
        .tunnel
        .audited(|line| line["job"]["project"]["path"] == "acme/careful")
        .await?;
    assert_eq!(line["status"], 403, "{line}");
    Ok(())
}
