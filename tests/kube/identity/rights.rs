//! What follows from an identity: the rights of its groups, `kubectl --as`, and that no two mix.

use anyhow::Result;
use ci_tunnel_tests::client::{Client, Http, full};
use ci_tunnel_tests::deadline::within;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{PRODUCTION, shop};
use crate::installed::{ACCOUNT, Installed, refusal, whoami, words};

/// What people write for GitLab: a role for the jobs of one environment of one project.
#[tokio::test]
async fn rbac_of_the_jobs_groups_decides() -> Result<()> {
    let Some(installed) = Installed::get("RBAC").await else {
        return Ok(());
    };
    let (admin, cluster) = (installed.cluster.kubectl(), &installed.cluster);
    let open = cluster.namespace("open").await?;
    let group = "gitlab:project_env:7:production-eu-x1";
    let bind = format!("create rolebinding x --clusterrole=edit --group={group} -n {open}");
    admin.run(words(&bind)).await?;
    let production = installed.job(&shop(PRODUCTION)).await?;
    let can = format!("auth can-i create configmaps -q -n {open}");
    // The API server's authorizer hears of the binding in its own time.
    let allowed = async {
        while !production.output(words(&can)).await?.status.success() {}
        Ok::<_, anyhow::Error>(())
    };
    within("the binding", allowed).await??;
    let create = "create configmap release --from-literal=version=3 -n";
    production.run(words(&format!("{create} {open}"))).await?;
    let version = format!("get configmap release -o jsonpath={{.data.version}} -n {open}");
    assert_eq!(admin.run(words(&version)).await?, "3");

    let text = refusal(&production, &words(&format!("{create} default"))).await?;
    let says = "User \"gitlab:ci_job:4711\" cannot create resource \"configmaps\"";
    assert!(text.contains(says), "{text}");
    let staging = shop(&["--environment=staging", "--environment-slug=staging"]);
    for other in [staging, shop(&[])] {
        let text = refusal(&installed.job(&other).await?, &words(&version)).await?;
        let says = "User \"gitlab:ci_job:4711\" cannot get resource";
        assert!(text.contains(says), "{text}");
    }

    let uri = format!("/api/v1/namespaces/{open}/configmaps");
    let made = cluster.audited(|event| event.verb == "create" && event.uri.starts_with(&uri));
    let event = made.await?;
    let acted = event.impersonated_user.expect("it was impersonated");
    assert_eq!(event.user.username, ACCOUNT);
    assert_eq!(acted.username, "gitlab:ci_job:4711");
    assert!(acted.groups.iter().any(|has| has == group), "{acted:?}");
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
