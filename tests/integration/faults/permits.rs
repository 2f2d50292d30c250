//! Permits that are lost while they are used.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ci_tunnel_tests::client::Http;
use serde_json::Value;

use super::watching::Watching;
use crate::rig::{AGENT, CONFIG, JOB, Rig};

const LIMIT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn an_agent_token_that_is_revoked() -> Result<()> {
    let rig = Rig::with("timeouts: { hold: 500ms }", "").await?;
    let watching = Watching::begin(&rig, &rig.job).await?;
    let tokens = rig
        .tunnel
        .cli(&["agent", "token", "list", AGENT, "--json"])
        .await?;
    let tokens: Value = serde_json::from_str(&tokens)?;
    let id = &tokens[0]["id"];
    let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
    let begin = Instant::now();
    rig.tunnel.cli(&["agent", "token", "revoke", &id]).await?;
    let cut = watching.until_cut(begin).await?;
    println!("agent token revoked: watch cut after {cut:?}");
    ensure!(cut < LIMIT, "{cut:?}");
    let response = rig.client(Http::Two)?.get("/small").await?;
    assert_eq!(response.status(), 503);
    let told = |line: &str| line.contains("token_rejected");
    rig.tunnel
        .agent(0)
        .wait_for_line("the reason in the agent's log", told)
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_job_token_that_is_revoked() -> Result<()> {
    let rig = Rig::start().await?;
    let job = rig.tunnel.job_token(&JOB).await?;
    let watching = Watching::begin(&rig, &job).await?;
    let begin = Instant::now();
    rig.revoke(&job).await?;
    let cut = watching.until_cut(begin).await?;
    println!("job token revoked: watch cut after {cut:?}");
    ensure!(cut < LIMIT, "{cut:?}");
    why(&rig, "token", "revoked").await?;
    rig.api.wait_for_watchers(0).await?;
    // Another token of the same job is good still.
    assert_eq!(rig.client(Http::Two)?.get("/small").await?.status(), 200);
    Ok(())
}

#[tokio::test]
async fn an_agent_that_is_deleted() -> Result<()> {
    let rig = Rig::start().await?;
    let watching = Watching::begin(&rig, &rig.job).await?;
    let begin = Instant::now();
    rig.tunnel.cli(&["agent", "delete", AGENT]).await?;
    let cut = watching.until_cut(begin).await?;
    println!("agent deleted: watch cut after {cut:?}");
    ensure!(cut < LIMIT, "{cut:?}");
    assert_eq!(rig.client(Http::Two)?.get("/small").await?.status(), 403);
    Ok(())
}

#[tokio::test]
async fn rules_that_change() -> Result<()> {
    let rig = Rig::start().await?;
    let mut watching = Watching::begin(&rig, &rig.job).await?;
    let file = async |yaml: &str| {
        let before = revision(&rig).await?;
        rig.tunnel.write_config(AGENT, yaml)?;
        let changed = |status: &Value| status["agents"][0]["configuration"]["revision"] != before;
        rig.tunnel
            .wait_status("another revision of the rules", changed)
            .await
    };
    // What does not touch the permit does not touch the request.
    file(&format!("# A word.\n{CONFIG}")).await?;
    watching.gets_an_event(&rig).await?;
    file(&CONFIG.replace("[{", "[{ id: acme/other }, {")).await?;
    watching.gets_an_event(&rig).await?;
    // Nor does a file that can not be used.
    rig.tunnel
        .write_config(AGENT, "ci_access: { nonsense: 1 }")?;
    let problem = |status: &Value| !status["agents"][0]["configuration"]["problem"].is_null();
    rig.tunnel.wait_status("the problem", problem).await?;
    watching.gets_an_event(&rig).await?;

    let begin = Instant::now();
    file(&CONFIG.replace("acme/shop", "acme/other")).await?;
    let cut = watching.until_cut(begin).await?;
    println!("rules take the permit away: watch cut after {cut:?}");
    ensure!(cut < LIMIT, "{cut:?}");
    why(&rig, "rules", "acme/shop").await?;
    assert_eq!(rig.client(Http::Two)?.get("/small").await?.status(), 403);

    file(CONFIG).await?;
    let watching = Watching::begin(&rig, &rig.job).await?;
    let begin = Instant::now();
    file(&CONFIG.replace("ci_job", "ci_user")).await?;
    let cut = watching.until_cut(begin).await?;
    println!("rules give another identity: watch cut after {cut:?}");
    ensure!(cut < LIMIT, "{cut:?}");
    why(&rig, "identity", AGENT).await?;
    Ok(())
}

async fn revision(rig: &Rig) -> Result<Value> {
    Ok(rig.tunnel.status().await?["agents"][0]["configuration"]["revision"].clone())
}

/// The audit says that a request was cut, and why.
async fn why(rig: &Rig, label: &str, words: &str) -> Result<()> {
    let line = rig
        .tunnel
        .audited(|line| line["end"]["cut"] == label)
        .await?;
    let message = line["message"].as_str().context("no reason in the audit")?;
    ensure!(message.contains(words), "{line}");
    Ok(())
}
