//! Upgraded connections: raw bytes, each direction with an end of its own.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ci_tunnel_tests::apiserver::Received;
use ci_tunnel_tests::client::{Http, Switched};
use ci_tunnel_tests::deadline::within;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::rig::{Rig, SOON};

#[tokio::test]
async fn bytes_pass_both_ways_and_the_clients_end_is_handed_on() -> Result<()> {
    let rig = Rig::start().await?;
    let mut io = rig
        .client(Http::One)?
        .upgrade("/upgrade/echo", "SPDY/3.1")
        .await?
        .io()?;
    let mut slowest = Duration::ZERO;
    for number in 0..50_u8 {
        let key = [number; 3];
        let begin = Instant::now();
        io.write_all(&key).await?;
        io.flush().await?;
        let mut back = [0; 3];
        within("the echo", io.read_exact(&mut back)).await??;
        assert_eq!(back, key);
        slowest = slowest.max(begin.elapsed());
    }
    println!("slowest key: {slowest:?}");
    // The echo ends its direction when it has seen the end of ours, and not before.
    let (mut reader, mut writer) = tokio::io::split(io);
    let sent = vec![7; 3_000_000];
    let mut back = Vec::new();
    let write = async {
        writer.write_all(&sent).await?;
        writer.shutdown().await
    };
    let (_, read) = within("3 MB and the end", async {
        tokio::join!(write, reader.read_to_end(&mut back))
    })
    .await?;
    read?;
    ensure!(
        back == sent,
        "{} of {} bytes came back",
        back.len(),
        sent.len()
    );
    let line = rig
        .tunnel
        .audited(|line| line["upgrade"] == "SPDY/3.1")
        .await?;
    assert_eq!(line["end"], "complete", "{line}");
    Ok(())
}

#[tokio::test]
async fn the_api_servers_end_is_handed_on_and_leaves_the_other_direction_open() -> Result<()> {
    let rig = Rig::start().await?;
    let mut io = rig
        .client(Http::One)?
        .upgrade("/upgrade/bye", "websocket")
        .await?
        .io()?;
    let mut bye = Vec::new();
    within("the end", io.read_to_end(&mut bye)).await??;
    assert_eq!(bye, b"bye");
    io.write_all(b"still here").await?;
    io.flush().await?;
    let all = |seen: &Received| seen.upgraded == b"still here";
    let seen = rig
        .api
        .recorder()
        .wait_for("what was written after it", all)
        .await?;
    io.shutdown().await?;
    within(
        "the connection to end",
        rig.api.recorder().wait_for_close(seen.connection),
    )
    .await??;
    Ok(())
}

#[tokio::test]
async fn either_side_that_goes_away_ends_the_other_at_once() -> Result<()> {
    let mut rig = Rig::start().await?;
    let io = rig
        .client(Http::One)?
        .upgrade("/upgrade/echo", "SPDY/3.1")
        .await?
        .io()?;
    let seen = rig
        .api
        .recorder()
        .wait_for("it", |seen| seen.target == "/upgrade/echo")
        .await?;
    let begin = Instant::now();
    drop(io);
    rig.api.recorder().wait_for_close(seen.connection).await?;
    println!(
        "client gone during an upgrade: noticed after {:?}",
        begin.elapsed()
    );
    ensure!(
        begin.elapsed() < SOON,
        "noticed after {:?} only",
        begin.elapsed()
    );

    let mut io = rig
        .client(Http::One)?
        .upgrade("/upgrade/bye", "SPDY/3.1")
        .await?
        .io()?;
    let begin = Instant::now();
    rig.stop_api().await;
    let mut rest = Vec::new();
    // Broken or ended, but not silent.
    let _ = within("the end", io.read_to_end(&mut rest)).await?;
    println!(
        "API server gone during an upgrade: noticed after {:?}",
        begin.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn the_audit_says_which_side_broke_off() -> Result<()> {
    let rig = Rig::start().await?;
    let client = rig.client(Http::One)?;
    let mut io = client.upgrade("/upgrade/break", "SPDY/3.1").await?.io()?;
    io.write_all(b"x").await?;
    io.flush().await?;
    let mut rest = Vec::new();
    // Broken or ended, but not silent.
    let _ = within("the break", io.read_to_end(&mut rest)).await?;
    let ended = |how: &'static str| {
        let told = move |line: &Value| line["end"].to_string().contains(how);
        rig.tunnel.audited(told)
    };
    ended("the API server's connection broke").await?;
    drop(client.upgrade("/upgrade/echo", "SPDY/3.1").await?.io()?);
    ended("client_gone").await.map(drop)
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_answer() -> Result<()> {
    let rig = Rig::start().await?;
    for code in [200, 302, 400, 403, 404, 500] {
        let client = rig.client(Http::One)?;
        let answer = client
            .upgrade(&format!("/upgrade/{code}"), "websocket")
            .await?;
        let Switched::No(response) = answer else {
            anyhow::bail!("{code} switched");
        };
        assert_eq!(response.status().as_u16(), code);
        let text = String::from_utf8(response.into_body().to_vec())?;
        text.contains("Status").then_some(()).context(text)?;
    }
    Ok(())
}
