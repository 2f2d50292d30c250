//! Whatever a request does over QUIC it does over HTTP/2.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ci_tunnel_tests::client::{Http, Raw, empty, full};
use ci_tunnel_tests::deadline::{within, within_time};
use ci_tunnel_tests::process::Signal;
use http::Method;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::carried_by;
use crate::faults::Watching;
use crate::rig::{BOTH, Rig, SOON};

const HTTP2: &str = "transport: http2";

#[tokio::test]
async fn requests_bodies_and_refusals() -> Result<()> {
    let rig = Rig::with("", HTTP2).await?;
    carried_by(&rig, "http2").await?;
    for http in BOTH {
        let client = rig.client(http)?;
        let body = vec![7; 3_000_000];
        let echo = client.post("/echo", full(body.clone())).await?;
        assert_eq!(echo.status(), 200);
        ensure!(
            *echo.body() == body,
            "{} bytes came back",
            echo.body().len()
        );
        let bytes = client.get("/bytes?n=20000000").await?;
        assert_eq!(bytes.body().len(), 20_000_000);
        assert_eq!(client.get("/status/418").await?.status(), 418);
    }
    let sessions = rig
        .tunnel
        .metric("ci_tunnel_server_agent_sessions{transport=\"http2\"}");
    assert_eq!(sessions.await?, 1.0);
    Ok(())
}

#[tokio::test]
async fn many_requests_at_once_beside_readers_that_stall() -> Result<()> {
    let rig = Rig::with("", HTTP2).await?;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let mut connection = rig.client(Http::One)?.connect().await?;
        let request = connection.request(Method::GET, "/bytes?n=1000000000");
        let response = connection.send(request.body(empty())?).await?;
        stalled.push((connection, response));
    }
    let mut asking = JoinSet::new();
    for _ in 0..100 {
        let client = rig.client(Http::Two)?;
        asking.spawn(async move { client.get("/small").await.map(|answer| answer.status()) });
    }
    let begin = Instant::now();
    for status in within("a hundred answers", asking.join_all()).await? {
        assert_eq!(status?, 200);
    }
    println!(
        "100 requests beside 20 stalled readers: {:?}",
        begin.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn upgrades_carry_both_ways_and_end_one_by_one() -> Result<()> {
    let rig = Rig::with("", HTTP2).await?;
    let client = rig.client(Http::One)?;
    let io = client.upgrade("/upgrade/echo", "SPDY/3.1").await?.io()?;
    let (mut reader, mut writer) = tokio::io::split(io);
    let sent = vec![9; 3_000_000];
    let mut back = Vec::new();
    let write = async {
        writer.write_all(&sent).await?;
        writer.shutdown().await
    };
    let both = async { tokio::join!(write, reader.read_to_end(&mut back)) };
    let (_, read) = within("3 MB and the end", both).await?;
    read?;
    ensure!(back == sent, "{} bytes came back", back.len());
    Ok(())
}

#[tokio::test]
async fn endings_reach_the_other_side() -> Result<()> {
    let rig = Rig::with("", HTTP2).await?;
    for http in BOTH {
        let mut connection = rig.client(http)?.connect().await?;
        let request = connection.request(Method::GET, "/watch").body(empty())?;
        let response = connection.send(request).await?;
        rig.api.wait_for_watchers(1).await?;
        let begin = Instant::now();
        connection.cut().await;
        rig.api.wait_for_watchers(0).await?;
        ensure!(
            begin.elapsed() < SOON * 2,
            "{http:?}: {:?}",
            begin.elapsed()
        );
        drop(response);
        let client = rig.client(http)?;
        let request = client
            .request(Method::GET, "/break?after=100000")
            .body(empty())?;
        if let Ok(response) = client.send(request).await
            && response.status() != 502
        {
            let whole = within("its end", response.into_body().collect()).await?;
            ensure!(whole.is_err(), "{http:?}: a broken answer looks whole");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_restarts_is_found_again_at_once() -> Result<()> {
    let rig = Rig::with("timeouts: { drain: 1s }", HTTP2).await?;
    let client = rig.client(Http::Two)?;
    assert_eq!(client.get("/small").await?.status(), 200);
    rig.tunnel.restart_server().await?;
    let begin = Instant::now();
    // Held until the agent is there.
    assert_eq!(rig.client(Http::Two)?.get("/small").await?.status(), 200);
    println!(
        "server killed and started: works after {:?}",
        begin.elapsed()
    );
    ensure!(
        begin.elapsed() < Duration::from_secs(6),
        "{:?}",
        begin.elapsed()
    );

    let mut watching = Watching::begin(&rig, &rig.job).await?;
    let begin = Instant::now();
    rig.tunnel.server().signal(Signal::Term)?;
    watching.gets_an_event(&rig).await?;
    let (status, cut) = tokio::join!(
        rig.tunnel.server().wait(Duration::from_secs(10)),
        watching.until_cut(begin)
    );
    assert_eq!(status?.code(), Some(0));
    println!("server told to end: watch cut after {:?}", cut?);
    Ok(())
}

#[tokio::test]
async fn an_agent_that_ends_lets_its_requests_end() -> Result<()> {
    let rig = Rig::with("", &format!("{HTTP2}\ndrain_timeout: 1s")).await?;
    let mut watching = Watching::begin(&rig, &rig.job).await?;
    let begin = Instant::now();
    rig.tunnel.agent(0).term()?;
    let draining = |line: &str| line.contains("draining");
    rig.tunnel
        .agent(0)
        .wait_for_line("the drain", draining)
        .await?;
    watching.gets_an_event(&rig).await?;
    let (status, cut) = tokio::join!(
        rig.tunnel.agent(0).wait(Duration::from_secs(10)),
        watching.until_cut(begin)
    );
    println!("agent told to end: {}, watch cut after {:?}", status?, cut?);
    Ok(())
}

/// Whoever speaks something else on the TCP port, or nothing, is sent away, and agents are served meanwhile.
#[tokio::test]
async fn strangers_are_sent_away() -> Result<()> {
    let rig = Rig::with("", HTTP2).await?;
    let (address, ca) = (rig.tunnel.agents_addr(), rig.tunnel.ca_pem());
    for protocol in ["http/1.1", "h2", "ci-tunnel/1"] {
        let stranger = Raw::connect(address, ca, protocol).await;
        ensure!(stranger.is_err(), "{protocol} is spoken there");
    }
    let mut silent = TcpStream::connect(address).await?;
    let mut plain = TcpStream::connect(address).await?;
    plain
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    within("the end", plain.read_to_end(&mut answer)).await??;
    ensure!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert_eq!(rig.client(Http::Two)?.get("/small").await?.status(), 200);
    let limit = Duration::from_secs(8);
    within_time(limit, "the silent one's end", silent.read(&mut [0])).await??;
    let failed =
        "ci_tunnel_server_agent_admissions_total{reason=\"handshake\",transport=\"http2\"}";
    ensure!(rig.tunnel.metric(failed).await? >= 4.0, "not counted");
    Ok(())
}

#[tokio::test]
async fn a_frozen_agent_is_missed_within_the_idle_limit() -> Result<()> {
    let short = "quic: { idle_timeout: 3s, keep_alive: 1s }";
    let rig = Rig::with(
        &format!("{short}\ntimeouts: {{ hold: 1s }}"),
        &format!("{short}\n{HTTP2}"),
    )
    .await?;
    assert_eq!(rig.client(Http::Two)?.get("/small").await?.status(), 200);
    rig.tunnel.agent(0).stop()?;
    let begin = Instant::now();
    assert_eq!(rig.client(Http::Two)?.get("/small").await?.status(), 503);
    ensure!(
        begin.elapsed() < Duration::from_secs(6),
        "{:?}",
        begin.elapsed()
    );
    rig.tunnel.agent(0).cont()?;
    carried_by(&rig, "http2").await
}
