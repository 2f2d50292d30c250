//! Networks that block UDP: from the start, later, and not any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ci_tunnel_tests::client::Http;
use ci_tunnel_tests::relay::Relay;
use serde_json::Value;
use tokio::task::JoinSet;

use super::carried_by;
use crate::faults::Watching;
use crate::rig::{AGENT, Rig};

/// So that tests need not wait for the usual times.
const SHORT: &str = "quic: { idle_timeout: 3s, keep_alive: 1s }";
const RETRY: &str = "quic_retry: 1s";

#[tokio::test]
async fn udp_is_blocked_from_the_start() -> Result<()> {
    let relay = Relay::start().await?;
    relay.block_udp(true);
    let begin = Instant::now();
    let rig = Rig::behind(&relay, "", "").await?;
    carried_by(&rig, "http2").await?;
    println!(
        "UDP blocked from the start: connected after {:?}",
        begin.elapsed()
    );
    assert_eq!(rig.client(Http::Two)?.get("/small").await?.status(), 200);
    let why = format!(
        "QUIC: no handshake in 1 s to {}/udp; UDP is probably blocked",
        relay.address()
    );
    let tells = |line: &str| line.contains(&why);
    rig.tunnel.agent(0).wait_for_line("why", tells).await?;
    Ok(())
}

#[tokio::test]
async fn udp_is_blocked_later() -> Result<()> {
    let relay = Relay::start().await?;
    let rig = Rig::behind(&relay, SHORT, SHORT).await?;
    carried_by(&rig, "quic").await?;
    assert_eq!(rig.client(Http::Two)?.get("/small").await?.status(), 200);
    relay.block_udp(true);
    let begin = Instant::now();
    carried_by(&rig, "http2").await?;
    println!("UDP blocked later: HTTP/2 after {:?}", begin.elapsed());
    ensure!(
        begin.elapsed() < Duration::from_secs(8),
        "{:?}",
        begin.elapsed()
    );
    for _ in 0..10 {
        assert_eq!(rig.client(Http::Two)?.get("/small").await?.status(), 200);
    }
    Ok(())
}

/// The return loses nothing: not the requests that come all the time, nor the watch that runs all along.
#[tokio::test]
async fn udp_is_there_again() -> Result<()> {
    let relay = Relay::start().await?;
    relay.block_udp(true);
    let rig = Arc::new(Rig::behind(&relay, "", RETRY).await?);
    carried_by(&rig, "http2").await?;
    let mut watching = Watching::begin(&rig, &rig.job).await?;
    let over = Arc::new(AtomicBool::new(false));
    let mut asking = JoinSet::new();
    for _ in 0..4 {
        asking.spawn(ask_until(Arc::clone(&over), Arc::clone(&rig)));
    }
    relay.block_udp(false);
    carried_by(&rig, "quic").await?;
    watching.gets_an_event(&rig).await?;
    // As long as the watch runs, so does the session that carries it.
    let both = |status: &Value| sessions(status) == 2;
    rig.tunnel
        .wait_status("the old session to stay", both)
        .await?;
    over.store(true, Ordering::Relaxed);
    let mut answered = 0;
    for asked in asking.join_all().await {
        answered += asked?;
    }
    println!("UDP there again: {answered} requests answered, none failed");
    ensure!(answered > 0, "nobody asked");
    drop(watching);
    let one = |status: &Value| sessions(status) == 1;
    rig.tunnel
        .wait_status("the old session to end", one)
        .await?;
    assert_eq!(rig.client(Http::Two)?.get("/small").await?.status(), 200);
    Ok(())
}

/// How many of this one's requests were answered well; all must be.
async fn ask_until(over: Arc<AtomicBool>, rig: Arc<Rig>) -> Result<u32> {
    let client = rig.client(Http::Two)?;
    let mut answered = 0;
    while !over.load(Ordering::Relaxed) {
        let answer = client.get("/small").await?;
        ensure!(
            answer.status() == 200,
            "{}: {:?}",
            answer.status(),
            answer.body()
        );
        answered += 1;
    }
    Ok(answered)
}

fn sessions(status: &Value) -> usize {
    let agents = status["agents"].as_array().into_iter().flatten();
    agents
        .filter(|agent| agent["name"] == AGENT)
        .filter_map(|agent| agent["sessions"].as_array())
        .map(Vec::len)
        .sum()
}
