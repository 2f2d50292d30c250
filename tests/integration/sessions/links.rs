//! Bad networks: what they do to packets is nothing to requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ci_tunnel_tests::client::Http;
use ci_tunnel_tests::deadline::within_time;
use ci_tunnel_tests::relay::{Disturbance, Relay};
use serde_json::Value;

use super::asking::Asking;
use crate::faults::Watching;
use crate::rig::{AGENT, Rig};

const QUIC: &str = "transport: quic";
const A_WHILE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn packets_are_lost_doubled_and_overtaken() -> Result<()> {
    let relay = Relay::start().await?;
    let rig = Arc::new(Rig::behind(&relay, "", QUIC).await?);
    relay.disturb(Disturbance {
        lost: 20,
        doubled: 15,
        late: 10,
    });
    let asking = Asking::begin(&rig, 4);
    let client = rig.client(Http::Two)?;
    let begin = Instant::now();
    let bytes = within_time(A_WHILE, "3 MB", client.get("/bytes?n=3000000")).await??;
    assert_eq!(bytes.body().len(), 3_000_000);
    let took = begin.elapsed();
    let asked = asking.end().await?;
    println!("5 % lost, 7 % doubled, 10 % late: 3 MB in {took:?} beside {asked:?}");
    Ok(())
}

/// An agent's way out of its network may change under it: what runs goes on, and nothing new fails.
#[tokio::test]
async fn the_address_changes() -> Result<()> {
    let relay = Relay::start().await?;
    let rig = Arc::new(Rig::behind(&relay, "", QUIC).await?);
    let mut watching = Watching::begin(&rig, &rig.job).await?;
    let session = session(&rig).await?;
    let asking = Asking::begin(&rig, 4);
    for _ in 0..5 {
        let before = peer(&rig).await?;
        relay.rebind();
        let moved = |status: &Value| status["agents"][0]["sessions"][0]["peer"] != before;
        rig.tunnel.wait_status("the move to be seen", moved).await?;
        watching.gets_an_event(&rig).await?;
    }
    let asked = asking.end().await?;
    ensure!(
        session == self::session(&rig).await?,
        "it is another session now"
    );
    println!("five changes of the address: {asked:?}");
    Ok(())
}

/// Shorter than the idle limit: requests wait, and none is lost.
#[tokio::test]
async fn nothing_comes_through_for_a_moment() -> Result<()> {
    let relay = Relay::start().await?;
    let rig = Arc::new(Rig::behind(&relay, "", QUIC).await?);
    let mut watching = Watching::begin(&rig, &rig.job).await?;
    let asking = Asking::begin(&rig, 4);
    relay.block_udp(true);
    tokio::time::sleep(Duration::from_secs(1)).await;
    relay.block_udp(false);
    watching.gets_an_event(&rig).await?;
    println!("a second without packets: {:?}", asking.end().await?);
    Ok(())
}

/// Longer than that: what waits is told, and the agent is there again as soon as packets are.
#[tokio::test]
async fn nothing_comes_through_for_long() -> Result<()> {
    let short = "quic: { idle_timeout: 2s, keep_alive: 500ms }";
    let relay = Relay::start().await?;
    let rig = Rig::behind(&relay, short, &format!("{QUIC}\n{short}")).await?;
    relay.block_udp(true);
    let gone = |status: &Value| status["agents"][0]["connected"] == false;
    rig.tunnel
        .wait_status("the agent to be missed", gone)
        .await?;
    relay.block_udp(false);
    let begin = Instant::now();
    assert_eq!(rig.client(Http::Two)?.get("/small").await?.status(), 200);
    println!(
        "packets again after a blackout: works after {:?}",
        begin.elapsed()
    );
    rig.tunnel.wait_sessions(AGENT, 1).await
}

async fn peer(rig: &Rig) -> Result<Value> {
    Ok(rig.tunnel.status().await?["agents"][0]["sessions"][0]["peer"].clone())
}

async fn session(rig: &Rig) -> Result<Value> {
    Ok(rig.tunnel.status().await?["agents"][0]["sessions"][0]["id"].clone())
}
