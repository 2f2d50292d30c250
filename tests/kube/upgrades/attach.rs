//! `kubectl attach`: the pod's output, and its input.

use anyhow::{Context as _, Result};
use ci_tunnel_tests::deadline::within;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use super::Wire;
use crate::ring::Ring;

#[tokio::test]
async fn attach_over_websocket() -> Result<()> {
    attach(Wire::WebSocket).await
}

#[tokio::test]
async fn attach_over_spdy() -> Result<()> {
    attach(Wire::Spdy).await
}

/// A conversation: each line is sent after the echo of the one before.
async fn attach(wire: Wire) -> Result<()> {
    let Some(ring) = Ring::get("attach").await else {
        return Ok(());
    };
    let namespace = ring.pod("attach").await?;
    let kubectl = ring.kubectl()?;
    let mut command = wire.command(&kubectl, &["attach", "-i", "-n", &namespace, "web"]);
    let mut child = command.stdin(std::process::Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("piped")?;
    let mut lines = BufReader::new(child.stdout.take().context("piped")?).lines();
    for number in 0..5 {
        let line = format!("line {number}");
        stdin.write_all(format!("{line}\n").as_bytes()).await?;
        let echo = within("the echo", lines.next_line()).await??;
        assert_eq!(echo, Some(line));
    }
    drop(stdin);
    let status = within("attach to end with its input", child.wait()).await??;
    assert!(status.success(), "{status}");
    wire.was_used(ring, &namespace, "attach").await
}
