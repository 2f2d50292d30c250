use std::time::{Duration, Instant};

use http::StatusCode;

use super::Tunnel;
use crate::apiserver::ApiServer;
use crate::client::Http;

const AGENT: &str = "acme/infra:prod";
const CONFIG: &str = "ci_access: { projects: [{ id: acme/shop, access_as: { ci_job: {} } }] }";

async fn stand_in() -> anyhow::Result<(ApiServer, tempfile::TempDir, Tunnel)> {
    let api = ApiServer::start().await?;
    let directory = tempfile::tempdir()?;
    let kubeconfig = directory.path().join("kubeconfig");
    std::fs::write(&kubeconfig, api.kubeconfig())?;
    let tunnel = Tunnel::builder()
        .agent(AGENT, CONFIG)
        .kubeconfig(&kubeconfig)
        .start()
        .await?;
    Ok((api, directory, tunnel))
}

#[tokio::test]
async fn carries_a_request_and_writes_it_down() -> anyhow::Result<()> {
    let (_api, _directory, tunnel) = stand_in().await?;
    let token = tunnel
        .job_token(&["--project", "acme/shop", "--job-id", "7"])
        .await?;
    let kubeconfig = tunnel.kubeconfig(&token, "").await?;
    let client = tunnel.client_of(&kubeconfig, Http::Two)?;
    assert_eq!(client.get("/version").await?.status(), StatusCode::OK);
    let line = tunnel.audited(|line| line["path"] == "/version").await?;
    assert_eq!(line["job"]["project"]["path"], "acme/shop", "{line}");
    assert_eq!(tunnel.metric("ci_tunnel_server_no_such_thing").await?, 0.0);

    tunnel.write_config(AGENT, "ci_access: { projects: [] }")?;
    tunnel
        .wait_status("a new configuration", |status| {
            status["agents"][0]["configuration"]["revision"].is_string()
        })
        .await?;
    Ok(())
}

#[tokio::test]
async fn its_programs_can_be_stopped_and_started_again() -> anyhow::Result<()> {
    let (_api, _directory, tunnel) = stand_in().await?;
    let address = tunnel.api_addr();
    tunnel.start_agent(AGENT).await?;
    tunnel.wait_sessions(AGENT, 2).await?;
    tunnel.stop_replicas();
    tunnel.restart_server().await?;
    let back = Instant::now();
    tunnel.wait_connected(AGENT).await?;
    // The agent learns of it by a stateless reset, at its next keep-alive: not by 15 s of silence.
    assert!(
        back.elapsed() < Duration::from_secs(10),
        "{:?}",
        back.elapsed()
    );
    assert_eq!(tunnel.api_addr(), address);
    tunnel.agent(0).term()?;
    let ended = tunnel.agent(0).wait(Duration::from_secs(10)).await?;
    assert!(ended.success(), "{ended}");
    tunnel.agent(0).start().await?;
    tunnel.wait_connected(AGENT).await?;
    Ok(())
}
