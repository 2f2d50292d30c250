//! The audit log of a server that runs, is killed, is told to open its file again: no line is missing, and who checks
//! it sees that.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use ci_tunnel_tests::client::Http;
use ci_tunnel_tests::deadline::within;
use ci_tunnel_tests::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::rig::{AGENT, Rig};

#[tokio::test]
async fn a_killed_server_leaves_a_chain_that_is_whole() -> Result<()> {
    let rig = Rig::with("audit: { rotate: { size: 16KiB } }", "").await?;
    let mut reached = 0;
    for _ in 0..3 {
        let mut clients = JoinSet::new();
        for _ in 0..4 {
            let client = rig.client(Http::Two)?;
            clients.spawn(async move { while client.get("/small").await.is_ok() {} });
        }
        let wanted = reached + 100;
        let later = |line: &Value| line["seq"].as_u64() > Some(wanted);
        reached = rig.tunnel.audited(later).await?["seq"]
            .as_u64()
            .context("a number")?;
        rig.tunnel.server().kill();
        while clients.join_next().await.is_some() {}
        rig.tunnel.restart_server().await?;
    }
    let text = rig.tunnel.cli(&["audit", "verify"]).await?;
    ensure!(text.contains("\nok: "), "{text}");
    ensure!(text.matches("the server died").count() == 3, "{text}");
    Ok(())
}

#[tokio::test]
async fn every_request_has_one_line_over_rotations_and_restarts() -> Result<()> {
    let rig = Rig::with("audit: { rotate: { size: 16KiB }, sync: batch }", "").await?;
    for _ in 0..2 {
        let mut clients = JoinSet::new();
        for _ in 0..4 {
            let client = rig.client(Http::Two)?;
            clients.spawn(async move {
                for _ in 0..25 {
                    ensure!(client.get("/small").await?.status() == 200);
                }
                Ok(())
            });
        }
        while let Some(client) = clients.join_next().await {
            client??;
        }
        rig.tunnel.server().term()?;
        rig.tunnel.server().wait(A_WHILE).await?;
        rig.tunnel.server().start().await?;
    }
    let query = ["audit", "query", "--status=200", "--format=json"];
    let lines = parse(&rig.tunnel.cli(&query).await?)?;
    let ids: HashSet<_> = lines
        .iter()
        .map(|line| line["request_id"].to_string())
        .collect();
    assert_eq!((lines.len(), ids.len()), (200, 200));
    let text = rig.tunnel.cli(&["audit", "verify"]).await?;
    ensure!(text.starts_with("ok: "), "{text}");

    let some = &lines[123];
    let id = some["request_id"].as_str().context("an id")?;
    let by_id = ["audit", "query", "--format=json", "--request-id", id];
    let found = parse(&rig.tunnel.cli(&by_id).await?)?;
    assert_eq!(found.iter().collect::<Vec<_>>(), [some]);
    let by_job = [
        "audit",
        "query",
        "--job=7",
        "--user=ann",
        "--project=acme/shop",
        "--agent=prod",
        "--since=1h",
    ];
    let text = rig.tunnel.cli(&by_job).await?;
    assert_eq!(text.lines().count(), 200, "{text}");
    let nobody = rig.tunnel.cli(&["audit", "query", "--user=eve"]).await?;
    assert_eq!(nobody, "");
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_moved_away_is_followed_by_the_next() -> Result<()> {
    let rig = Rig::start().await?;
    let client = rig.client(Http::Two)?;
    client.get("/small").await?;
    let log = rig.tunnel.state_dir().join("audit.log");
    let moved = log.with_extension("log.1");
    std::fs::rename(&log, &moved)?;
    rig.tunnel.server().signal(Signal::Hup)?;
    let there = async {
        while !log.exists() {
            tokio::task::yield_now().await;
        }
    };
    within("the next file", there).await?;
    client.get("/small").await?;
    rig.tunnel
        .audited(|line| line["event"] == "reopened")
        .await?;
    let files = [moved, log].map(|path| path.display().to_string());
    let verify = ["audit", "verify", &files[0], &files[1]];
    let text = rig.tunnel.cli(&verify).await?;
    ensure!(
        text.starts_with("ok: ") && text.contains(" in 2 files, from 1 on"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn a_socket_gets_every_line_when_its_reader_comes_again() -> Result<()> {
    let files = tempfile::tempdir()?;
    let path = files.path().join("audit.sock");
    let listener = UnixListener::bind(&path)?;
    let yaml = format!("audit: {{ output: {{ socket: {} }} }}", path.display());
    let rig = Rig::with(&yaml, "").await?;
    let client = rig.client(Http::Two)?;
    let mut lines = Vec::new();
    for round in 0..3 {
        // Only a line that is to be written finds out that the last reader is gone.
        client.get(&format!("/small?{round}")).await?;
        let mut reader = accepted(&listener).await?;
        // The line that tells of the new reader is the last.
        let last = if round == 0 { "request_id" } else { "reopened" };
        loop {
            let line = within("a line", reader.next_line()).await??;
            lines.push(line.context("the server closed the socket")?);
            if lines.last().is_some_and(|line| line.contains(last)) {
                break;
            }
        }
        // Gone; what is written meanwhile waits.
        drop(reader);
    }
    let read = files.path().join("read");
    std::fs::write(&read, lines.join("\n") + "\n")?;
    ensure!(verified(&rig, &read).await?.starts_with("ok: "));
    Ok(())
}

#[tokio::test]
async fn agents_come_and_go_in_it() -> Result<()> {
    let rig = Rig::start().await?;
    let connected =
        |line: &Value| line["event"] == "agent_connected" && line["agent"]["name"] == AGENT;
    let line = rig.tunnel.audited(connected).await?;
    ensure!(
        line["client"].is_string() && line["session"].is_u64(),
        "{line}"
    );
    rig.tunnel.agent(0).term()?;
    rig.tunnel.agent(0).wait(A_WHILE).await?;
    let gone = |line: &Value| line["event"] == "agent_disconnected";
    let line = rig.tunnel.audited(gone).await?;
    assert_eq!(line["agent"]["name"], AGENT);
    ensure!(
        line["code"].is_string() && line["reason"].is_string(),
        "{line}"
    );
    Ok(())
}

#[tokio::test]
async fn what_commands_do_is_in_it_also_while_the_server_is_away() -> Result<()> {
    let rig = Rig::start().await?;
    let done = async |command: &'static str| {
        let done = move |line: &Value| line["event"] == "command" && line["command"] == command;
        rig.tunnel.audited(done).await
    };
    let issued = done("job-token issue").await?;
    assert_eq!(issued["project"], "acme/shop");
    ensure!(
        issued["token"].is_string() && issued["uid"].is_u64(),
        "{issued}"
    );
    rig.tunnel.server().term()?;
    rig.tunnel.server().wait(A_WHILE).await?;
    rig.another_agent("acme/infra:two").await?;
    rig.tunnel
        .cli(&["agent", "delete", "acme/infra:two"])
        .await?;
    rig.tunnel.server().start().await?;
    for command in ["agent create", "agent token create", "agent delete"] {
        // The first of its kind may be of the agent that the test began with.
        let line = done(command).await?;
        ensure!(line["agent"]["name"].is_string(), "{line}");
    }
    let text = rig.tunnel.cli(&["audit", "query", "--agent=two"]).await?;
    assert_eq!(text.matches("acme/infra:two").count(), 3, "{text}");
    ensure!(
        rig.tunnel
            .cli(&["audit", "verify"])
            .await?
            .starts_with("ok: ")
    );
    Ok(())
}

async fn accepted(listener: &UnixListener) -> Result<Lines<BufReader<UnixStream>>> {
    let (stream, _) = within("the server at the socket", listener.accept()).await??;
    Ok(BufReader::new(stream).lines())
}

async fn verified(rig: &Rig, file: &Path) -> Result<String> {
    let file = file.display().to_string();
    rig.tunnel.cli(&["audit", "verify", &file]).await
}

fn parse(lines: &str) -> Result<Vec<Value>> {
    let parse = |line| serde_json::from_str(line).with_context(|| format!("audit line {line}"));
    lines.lines().map(parse).collect()
}

const A_WHILE: std::time::Duration = std::time::Duration::from_secs(10);
