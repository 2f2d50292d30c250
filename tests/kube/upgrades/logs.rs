//! `kubectl logs`, at once and as they grow.

use anyhow::{Context as _, Result};
use ci_tunnel_tests::deadline::within;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::ring::Ring;

#[tokio::test]
async fn logs() -> Result<()> {
    let Some(ring) = Ring::get("logs").await else {
        return Ok(());
    };
    let namespace = ring.pod("logs").await?;
    for line in ["one", "two", "three"] {
        ring.cluster.log(&namespace, "web", line)?;
    }
    let kubectl = ring.kubectl()?;
    let all = kubectl.run(["logs", "-n", &namespace, "web"]).await?;
    assert_eq!(all, "one\ntwo\nthree\n");
    let last = kubectl
        .run(["logs", "-n", &namespace, "web", "--tail=1"])
        .await?;
    assert_eq!(last, "three\n");
    Ok(())
}

#[tokio::test]
async fn logs_that_are_followed_arrive_line_by_line() -> Result<()> {
    match Ring::get("followed logs").await {
        Some(ring) => follows(ring).await,
        None => Ok(()),
    }
}

pub(super) async fn follows(ring: &Ring) -> Result<()> {
    let namespace = ring.pod("logs-f").await?;
    ring.cluster.log(&namespace, "web", "line 0")?;
    let mut child = ring
        .kubectl()?
        .command(["logs", "-f", "-n", &namespace, "web"])
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("piped")?).lines();
    for number in 0..10 {
        let line = within("a line of the log", lines.next_line()).await??;
        assert_eq!(line, Some(format!("line {number}")));
        // Only now: each must come through by itself.
        ring.cluster
            .log(&namespace, "web", &format!("line {}", number + 1))?;
    }
    Ok(())
}
