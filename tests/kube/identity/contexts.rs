//! What a job's KUBECONFIG names, and what a job reads that is not let in.

use std::collections::BTreeSet;

use anyhow::Result;
use http::StatusCode;
use serde_json::Value;

use crate::installed::{AGENT, Installed, refusal};

#[tokio::test]
async fn a_kubeconfig_has_namespace_and_the_only_context_as_the_current_one() -> Result<()> {
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
    assert_eq!(without["current-context"], AGENT);
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
    let current = kubectl.run(["config", "current-context"]).await?;
    assert_eq!(current.trim(), AGENT);
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
