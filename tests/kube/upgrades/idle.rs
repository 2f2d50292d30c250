//! Requests on which nothing happens for longer than every timeout.

use anyhow::Result;
use ci_tunnel_tests::tunnel::Tunnel;

use super::Wire;
use crate::ring::{Ring, finish};

/// All of them shorter than the command's silence.
const SERVER: &str = "
quic: { idle_timeout: 1s, keep_alive: 300ms }
timeouts: { response_head: 2s, request_head: 1s, hold: 1s, open_stream: 1s }
";
const AGENT: &str = "
quic: { idle_timeout: 1s, keep_alive: 300ms }
upstream: { response_timeout: 2s }
";

#[tokio::test]
async fn a_silent_exec_outlives_all_timeouts() -> Result<()> {
    let Some(ring) = Ring::get("a silent exec").await else {
        return Ok(());
    };
    let namespace = ring.pod("idle").await?;
    let config = "ci_access: { projects: [{ id: acme/shop, access_as: { ci_job: {} } }] }";
    let tunnel = Tunnel::builder()
        .server_yaml(SERVER)
        .agent_yaml(AGENT)
        .agent("acme/infra:idle", config)
        .cluster(ring.cluster)
        .start()
        .await?;
    let job = ["--project", "acme/shop", "--job-id", "1"];
    let token = tunnel.job_token(&job).await?;
    let kubectl = tunnel.kubectl(&tunnel.kubeconfig(&token, "").await?)?;
    let shell = "sleep 5; echo late; read -r word; echo \"$word\"";
    let args = [
        "exec", "-i", "-n", &namespace, "web", "--", "sh", "-c", shell,
    ];
    let run = async |wire: Wire| finish(wire.command(&kubectl, &args), b"word\n").await;
    let (one, two) = tokio::try_join!(run(Wire::WebSocket), run(Wire::Spdy))?;
    for output in [one, two] {
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "late\nword\n",
            "{output:?}"
        );
        assert!(output.status.success(), "{output:?}");
    }
    Ok(())
}
