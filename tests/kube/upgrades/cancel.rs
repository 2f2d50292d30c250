//! Clients that are killed: the API server hears of it, and our audit log says so.

use anyhow::{Context as _, Result};
use ci_tunnel_tests::deadline::within;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::Wire;
use crate::ring::Ring;

#[tokio::test]
async fn a_killed_log_follower_leaves_nothing_behind() -> Result<()> {
    let Some(ring) = Ring::get("a killed follower").await else {
        return Ok(());
    };
    let namespace = ring.pod("killed-logs").await?;
    ring.cluster.log(&namespace, "web", "a line")?;
    let args = ["logs", "-f", "-n", &namespace, "web"];
    killed_after_a_line(ring.kubectl()?.command(args)).await?;
    left(ring, &namespace, "log").await
}

#[tokio::test]
async fn a_killed_exec_leaves_nothing_behind_over_websocket() -> Result<()> {
    killed_exec(Wire::WebSocket).await
}

#[tokio::test]
async fn a_killed_exec_leaves_nothing_behind_over_spdy() -> Result<()> {
    killed_exec(Wire::Spdy).await
}

async fn killed_exec(wire: Wire) -> Result<()> {
    let Some(ring) = Ring::get("a killed exec").await else {
        return Ok(());
    };
    let namespace = ring.pod("killed-exec").await?;
    let kubectl = ring.kubectl()?;
    let shell = "echo begun; cat";
    let args = [
        "exec", "-i", "-n", &namespace, "web", "--", "sh", "-c", shell,
    ];
    let mut command = wire.command(&kubectl, &args);
    command.stdin(std::process::Stdio::piped());
    killed_after_a_line(command).await?;
    wire.was_used(ring, &namespace, "exec").await?;
    left(ring, &namespace, "exec").await
}

async fn killed_after_a_line(mut command: Command) -> Result<()> {
    let mut child = command.spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("piped")?).lines();
    let line = within("a line", lines.next_line()).await??;
    assert!(line.is_some(), "it ended by itself");
    child.kill().await?;
    Ok(())
}

/// Waits until the request has ended at both ends.
async fn left(ring: &Ring, namespace: &str, subresource: &str) -> Result<()> {
    let path = format!("/api/v1/namespaces/{namespace}/pods/web/{subresource}");
    let line = ring.tunnel.audited(|line| line["path"] == path).await?;
    println!("{subresource}: {line}");
    ring.cluster
        .audited(|event| {
            event.uri.split('?').next() == Some(&path) && event.stage == "ResponseComplete"
        })
        .await
        .map(drop)
}
