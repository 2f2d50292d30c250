//! Several instances of one agent: one that ends, freezes or is replaced is no loss.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ci_tunnel_tests::client::Http;
use serde_json::Value;

use super::asking::Asking;
use crate::rig::{AGENT, Rig};

const END: Duration = Duration::from_secs(20);

/// A rolling update in both orders: the old one ends before the new one is there, and after.
#[tokio::test]
async fn one_after_the_other_is_replaced() -> Result<()> {
    let rig = Arc::new(Rig::start().await?);
    rig.tunnel.start_agent(AGENT).await?;
    rig.tunnel.wait_sessions(AGENT, 2).await?;
    let asking = Asking::begin(&rig, 8);
    let first = rig.tunnel.agent(0);
    // The old one first.
    first.term()?;
    ensure!(first.wait(END).await?.success(), "{}", first.tail(20));
    first.start().await?;
    rig.tunnel.wait_sessions(AGENT, 2).await?;
    // The new one first.
    rig.tunnel.start_agent(AGENT).await?;
    rig.tunnel.wait_sessions(AGENT, 3).await?;
    rig.tunnel.end_replica().await?;
    rig.tunnel.wait_sessions(AGENT, 2).await?;
    println!("two agents replaced: {:?}", asking.end().await?);
    Ok(())
}

/// With the limits that people run with. To the frozen one go requests only as long as nobody can know.
#[tokio::test]
async fn a_frozen_one_keeps_nobody_waiting() -> Result<()> {
    let rig = Arc::new(Rig::start().await?);
    rig.tunnel.start_agent(AGENT).await?;
    rig.tunnel.wait_sessions(AGENT, 2).await?;
    rig.tunnel.agent(0).stop()?;
    let begin = Instant::now();
    let avoided = |status: &Value| {
        let sessions = status["agents"][0]["sessions"].as_array();
        sessions
            .into_iter()
            .flatten()
            .any(|session| session["trouble"].is_string())
    };
    rig.tunnel
        .wait_status("the frozen one to be avoided", avoided)
        .await?;
    let avoided = begin.elapsed();
    let asking = Asking::begin(&rig, 4);
    for _ in 0..20 {
        // Each over a connection of its own, as jobs do.
        assert_eq!(rig.client(Http::Two)?.get("/small").await?.status(), 200);
    }
    let asked = asking.end().await?;
    println!("one of two frozen: avoided after {avoided:?}, then {asked:?}");
    ensure!(
        asked.longest < Duration::from_secs(2),
        "{:?}",
        asked.longest
    );
    rig.tunnel.agent(0).cont()?;
    rig.tunnel.wait_sessions(AGENT, 2).await
}

/// Where nobody else is left, the words say what is the matter.
#[tokio::test]
async fn the_last_one_ends() -> Result<()> {
    let rig = Rig::with("timeouts: { hold: 300ms }", "drain_timeout: 3s").await?;
    let mut slow = rig.client(Http::Two)?.connect().await?;
    let request = slow
        .request(http::Method::GET, "/slow")
        .body(ci_tunnel_tests::client::empty())?;
    let slow = tokio::spawn(async move { slow.whole(request).await });
    let arrived = |seen: &ci_tunnel_tests::apiserver::Received| seen.target == "/slow";
    rig.api.recorder().wait_for("it", arrived).await?;
    rig.tunnel.agent(0).term()?;
    let draining = |status: &Value| status["agents"][0]["sessions"][0]["draining"] == true;
    rig.tunnel.wait_status("the drain", draining).await?;
    let refused = rig.client(Http::Two)?.get("/small").await?;
    let status: Value = serde_json::from_slice(refused.body())?;
    assert_eq!(refused.status(), 503);
    let words = status["message"].as_str().unwrap_or_default();
    ensure!(
        words.contains("is shutting down, and no other instance of it is connected"),
        "{words}"
    );
    rig.api.release_slow();
    assert_eq!(slow.await??.status(), 200);
    Ok(())
}
