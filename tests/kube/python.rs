//! The Kubernetes client library of Python.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use ci_tunnel_tests::deadline::within_time;
use tokio::process::Command;

use crate::ring::{Ring, finish};

#[tokio::test]
async fn lists_watches_and_executes() -> Result<()> {
    let Some(ring) = Ring::get("Python's client").await else {
        return Ok(());
    };
    let Some(python) = python().await? else {
        return Ok(());
    };
    let namespace = ring.pod("python").await?;
    ring.cluster.log(&namespace, "web", "a line")?;
    let mut client = Command::new(python);
    client
        .arg(folder().join("client.py"))
        .args([&namespace, "web"])
        .env_clear()
        .env("KUBECONFIG", ring.kubeconfig())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let output = finish(client, b"").await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let steps = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        steps.lines().filter(|line| line.starts_with("ok ")).count(),
        5,
        "{steps}"
    );
    Ok(())
}

/// Made the first time, which takes as long as pip does.
async fn python() -> Result<Option<String>> {
    let mut make = Command::new(folder().join("python.sh"));
    let made = make.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = within_time(Duration::from_secs(300), "Python's client", made).await??;
    if output.status.code() == Some(3) && std::env::var_os("CI").is_none() {
        eprintln!(
            "SKIPPED Python's client: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        return Ok(None);
    }
    anyhow::ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    let path = text.lines().last().context("python.sh prints no path")?;
    Ok(Some(path.to_owned()))
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/kubernetes"))
}
