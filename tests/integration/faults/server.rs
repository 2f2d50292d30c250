//! The server that is killed, and the one that is asked to end.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ci_tunnel_tests::client::{Http, empty};
use ci_tunnel_tests::process::Signal;
use http::Method;

use super::watching::Watching;
use crate::rig::{AGENT, Rig};

const A_WHILE: Duration = Duration::from_secs(10);

/// The agent learns of it by a stateless reset, not by silence.
#[tokio::test]
async fn killed_and_started_again() -> Result<()> {
    let rig = Rig::start().await?;
    assert_eq!(rig.client(Http::Two)?.get("/small").await?.status(), 200);
    let mut times = Vec::new();
    for _ in 0..5 {
        rig.tunnel.restart_server().await?;
        let begin = Instant::now();
        // Held until the agent is there.
        assert_eq!(rig.client(Http::Two)?.get("/small").await?.status(), 200);
        times.push(begin.elapsed());
    }
    println!("server killed and started: requests work after {times:?}");
    let limit = Duration::from_secs(6);
    ensure!(
        times.iter().all(|time| *time < limit),
        "{times:?}: the idle limit is 15 s, the agent's keep-alive 5 s"
    );
    Ok(())
}

#[tokio::test]
async fn asked_to_end_with_a_watch_that_does_not() -> Result<()> {
    let rig = Rig::with("timeouts: { drain: 1s }", "").await?;
    let mut watching = Watching::begin(&rig, &rig.job).await?;
    let begin = Instant::now();
    rig.tunnel.server().signal(Signal::Term)?;
    draining(&rig).await?;
    watching.gets_an_event(&rig).await?;
    let (status, cut) = tokio::join!(rig.tunnel.server().wait(A_WHILE), watching.until_cut(begin));
    let (status, cut) = (status?, cut?);
    println!(
        "drain of 1s is over: watch cut after {cut:?}, ended after {:?}",
        begin.elapsed()
    );
    assert_eq!(status.code(), Some(0));
    ensure!(
        cut >= Duration::from_secs(1) && cut < Duration::from_secs(4),
        "cut after {cut:?}"
    );
    let line = rig.tunnel.audited(|line| line["path"] == "/watch").await?;
    assert_eq!(line["end"]["cut"], "restarting", "{line}");

    let begin = Instant::now();
    rig.tunnel.server().start().await?;
    assert_eq!(rig.client(Http::Two)?.get("/small").await?.status(), 200);
    println!("... and started: requests work after {:?}", begin.elapsed());
    Ok(())
}

#[tokio::test]
async fn asked_to_end_twice() -> Result<()> {
    let rig = Rig::start().await?;
    let watching = Watching::begin(&rig, &rig.job).await?;
    rig.tunnel.server().signal(Signal::Term)?;
    draining(&rig).await?;
    let begin = Instant::now();
    rig.tunnel.server().signal(Signal::Term)?;
    let (status, cut) = tokio::join!(rig.tunnel.server().wait(A_WHILE), watching.until_cut(begin));
    println!(
        "asked to end twice: watch cut after {:?}, ended with {} after {:?}",
        cut?,
        status?,
        begin.elapsed()
    );
    ensure!(
        begin.elapsed() < Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );
    let line = rig.tunnel.audited(|line| line["path"] == "/watch").await?;
    assert_eq!(line["end"]["cut"], "restarting", "{line}");
    Ok(())
}

/// What runs ends as it should, what is new is refused, and nothing waits for the agents.
#[tokio::test]
async fn asked_to_end_with_requests_that_do() -> Result<()> {
    let rig = Rig::start().await?;
    let mut idle = rig.client(Http::One)?.connect().await?;
    assert_eq!(idle.get("/small").await?.status(), 200);
    let mut connection = rig.client(Http::Two)?.connect().await?;
    let request = connection.request(Method::GET, "/slow").body(empty())?;
    let slow = tokio::spawn(async move { connection.whole(request).await });
    rig.api
        .recorder()
        .wait_for("it", |seen| seen.target == "/slow")
        .await?;
    rig.tunnel.server().signal(Signal::Term)?;
    draining(&rig).await?;
    ensure!(
        rig.client(Http::Two)?.get("/small").await.is_err(),
        "a new connection is served"
    );
    ensure!(
        idle.get("/small").await.is_err(),
        "a kept connection is served"
    );
    let begin = Instant::now();
    rig.api.release_slow();
    assert_eq!(slow.await??.status(), 200);
    let status = rig.tunnel.server().wait(A_WHILE).await?;
    println!(
        "asked to end: ended {:?} after the last request",
        begin.elapsed()
    );
    assert_eq!(status.code(), Some(0));
    ensure!(
        begin.elapsed() < Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );
    Ok(())
}

/// The next server is another process at the same address: nothing of the old one must keep the agent from it.
#[tokio::test]
async fn replaced_gracefully() -> Result<()> {
    let rig = Rig::start().await?;
    rig.tunnel.server().signal(Signal::Term)?;
    rig.tunnel.server().wait(A_WHILE).await?;
    rig.tunnel.server().start().await?;
    let begin = Instant::now();
    rig.tunnel.wait_connected(AGENT).await?;
    println!(
        "server ended and started: agent there after {:?}",
        begin.elapsed()
    );
    ensure!(
        begin.elapsed() < Duration::from_secs(6),
        "{:?}",
        begin.elapsed()
    );
    Ok(())
}

async fn draining(rig: &Rig) -> Result<()> {
    let server = rig.tunnel.server();
    server
        .wait_for_line("the drain", |line| line.contains("draining"))
        .await
        .map(drop)
}
