//! What is refused because the way to the API server is closed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use ci_tunnel_tests::client::{Http, empty, fed};
use ci_tunnel_tests::deadline::within;
use ci_tunnel_tests::process::Signal;
use http::Method;

use super::refused;
use crate::rig::{AGENT, BOTH, Rig};

#[tokio::test]
async fn an_agent_that_is_away() -> Result<()> {
    let rig = Rig::with("timeouts: { hold: 1s }", "").await?;
    rig.tunnel.agent(0).term()?;
    rig.tunnel.agent(0).wait(Duration::from_secs(10)).await?;
    for http in BOTH {
        let begin = Instant::now();
        let response = rig.client(http)?.get("/small").await?;
        let held = begin.elapsed();
        let refusal = refused(&rig, response, 503, "ServiceUnavailable").await?;
        refusal
            .says(&[AGENT, "since", "not connected"])?
            .retry(true)?;
        ensure!(
            held >= Duration::from_secs(1) && held < Duration::from_secs(3),
            "held for {held:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_request_is_held_while_its_agent_is_away() -> Result<()> {
    let rig = Rig::start().await?;
    rig.tunnel.agent(0).term()?;
    rig.tunnel.agent(0).wait(Duration::from_secs(10)).await?;
    let client = rig.client(Http::Two)?;
    let begin = Instant::now();
    let (response, started) = tokio::join!(client.get("/small"), rig.tunnel.agent(0).start());
    started?;
    assert_eq!(response?.status(), 200);
    println!("held until the agent was there: {:?}", begin.elapsed());
    Ok(())
}

#[tokio::test]
async fn an_agent_without_a_free_stream() -> Result<()> {
    let server = "timeouts: { open_stream: 500ms }\nquic: { max_streams: 4 }";
    let rig = Rig::with(server, "quic: { max_streams: 4 }").await?;
    let mut watches = Vec::new();
    let client = rig.client(Http::Two)?;
    let response = loop {
        let mut connection = client.connect().await?;
        let request = connection.request(Method::GET, "/watch").body(empty())?;
        let response = connection.send(request).await?;
        if response.status() != 200 {
            break response;
        }
        watches.push((connection, response));
        ensure!(watches.len() < 20, "no limit of streams");
    };
    println!("{} streams", watches.len());
    ensure!(watches.len() >= 3, "{} streams of 4", watches.len());
    let response = ci_tunnel_tests::client::whole(response).await?;
    refused(&rig, response, 503, "ServiceUnavailable")
        .await?
        .says(&[AGENT])?
        .retry(true)?;
    // One that ends makes room.
    drop(watches.pop());
    rig.api.wait_for_watchers(watches.len()).await?;
    let small = client.get("/small").await?;
    ensure!(small.status() == 200, "{small:?}");
    Ok(())
}

#[tokio::test]
async fn an_api_server_that_is_away_or_a_stranger() -> Result<()> {
    let mut rig = Rig::start().await?;
    let client = rig.client(Http::Two)?;
    assert_eq!(client.get("/small").await?.status(), 200);
    rig.stop_api().await;
    let addr = rig.api.addr().to_string();
    let begin = Instant::now();
    let response = client.get("/small").await?;
    println!("API server away: answered after {:?}", begin.elapsed());
    refused(&rig, response, 502, "BadGateway")
        .await?
        .says(&[AGENT, &addr, "reach"])?
        .retry(false)?;
    rig.replace_api().await?;
    let response = client.get("/small").await?;
    refused(&rig, response, 502, "BadGateway")
        .await?
        .says(&[AGENT, &addr, "trust", "certificate"])?
        .retry(false)?;
    ensure!(rig.api.recorder().count() == 0, "a stranger got a request");
    Ok(())
}

#[tokio::test]
async fn no_answer_in_time() -> Result<()> {
    for (server, agent) in [
        ("timeouts: { response_head: 1s }", ""),
        ("", "upstream: { response_timeout: 1s }"),
    ] {
        let rig = Rig::with(server, agent).await?;
        for http in BOTH {
            let client = rig.client(http)?;
            let begin = Instant::now();
            let response = client.get("/slow").await?;
            ensure!(
                begin.elapsed() < Duration::from_secs(3),
                "{:?}",
                begin.elapsed()
            );
            refused(&rig, response, 504, "Timeout")
                .await?
                .says(&["1", "s"])?;
            let is_gone = |seen: &ci_tunnel_tests::apiserver::Received| {
                seen.target == "/slow" && seen.is_gone()
            };
            rig.api
                .recorder()
                .wait_for("the request to be given up", is_gone)
                .await?;
            rig.api.recorder().forget();
        }
    }
    Ok(())
}

/// The time for an answer runs from the end of the upload, however long that takes.
#[tokio::test]
async fn a_slow_upload_is_no_slow_answer() -> Result<()> {
    let rig = Rig::with(
        "timeouts: { response_head: 1s }",
        "upstream: { response_timeout: 1s }",
    )
    .await?;
    let client = rig.client(Http::Two)?;
    let (feeder, body) = fed();
    let upload = async {
        let mut pause = tokio::time::interval(Duration::from_millis(100));
        for _ in 0..15 {
            pause.tick().await;
            feeder.data("a piece").await?;
        }
        drop(feeder);
        anyhow::Ok(())
    };
    let (sent, response) = tokio::join!(upload, client.post("/status/200", body));
    sent?;
    assert_eq!(response?.status(), 200);
    Ok(())
}

#[tokio::test]
async fn a_server_that_ends() -> Result<()> {
    let rig = Rig::with("timeouts: { drain: 10s }", "").await?;
    let client = rig.client(Http::Two)?;
    let mut connection = client.connect().await?;
    assert_eq!(connection.get("/small").await?.status(), 200);
    let request = connection.request(Method::GET, "/slow").body(empty())?;
    let slow = tokio::spawn(async move { connection.whole(request).await });
    rig.api
        .recorder()
        .wait_for("it", |seen| seen.target == "/slow")
        .await?;
    rig.tunnel.server().signal(Signal::Term)?;
    let refused_to_connect = async {
        while client.connect().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    within("new connections to be refused", refused_to_connect).await?;
    rig.api.release_slow();
    assert_eq!(slow.await??.status(), 200);
    let ended = rig.tunnel.server().wait(Duration::from_secs(5)).await?;
    if ended.code() != Some(0) {
        bail!("{ended}");
    }
    Ok(())
}
