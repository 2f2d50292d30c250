//! What one address may do before it has shown a good credential.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ci_tunnel_tests::client::{Http, empty};
use ci_tunnel_tests::deadline::within;
use ci_tunnel_tests::process::Signal;
use http::Method;
use serde_json::Value;

use crate::rig::Rig;

#[tokio::test]
async fn an_address_that_tries_credentials_is_slowed_and_its_good_clients_are_not() -> Result<()> {
    let rig = Rig::with("limits: { address: { rejected_per_second: 3 } }", "").await?;
    let mut known = rig.client(Http::Two)?.connect().await?;
    assert_eq!(known.get("/small").await?.status(), 200);
    let garbled = format!("{}x", rig.bearer());
    let mut guesser = rig.client_as(Http::Two, &garbled)?.connect().await?;
    let mut slowed = None;
    for _ in 0..200 {
        let answer = guesser.get("/small").await?;
        match answer.status().as_u16() {
            401 => {}
            429 => slowed = Some(answer),
            other => anyhow::bail!("{other}"),
        }
        assert_eq!(known.get("/small").await?.status(), 200);
        if slowed.is_some() {
            break;
        }
    }
    let slowed = slowed.context("200 guesses, and none refused unseen")?;
    ensure!(slowed.headers()["retry-after"] == "1");
    let words = String::from_utf8_lossy(slowed.body()).into_owned();
    ensure!(
        words.contains("limits.address.rejected_per_second"),
        "{words}"
    );
    let good = async {
        while rig.client(Http::One)?.get("/small").await?.status() != 200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok::<_, anyhow::Error>(())
    };
    within("a good credential from the same address", good).await?
}

#[tokio::test]
async fn strangers_do_not_fill_the_log() -> Result<()> {
    const SENT: u64 = 400;
    let rig = Rig::with("limits: { address: { rejected_per_second: 20 } }", "").await?;
    let mut stranger = rig.client_as(Http::One, "")?.connect().await?;
    let long = Method::from_bytes(&[b'A'; 10_000])?;
    let begin = Instant::now();
    for number in 0..SENT {
        let method = if number == 0 {
            long.clone()
        } else {
            Method::GET
        };
        let request = stranger.request(method, "/small");
        let answer = stranger.whole(request.body(empty())?).await?;
        ensure!([401, 429].contains(&answer.status().as_u16()), "{answer:?}");
    }
    // A window each begun second.
    let most = 20 * (begin.elapsed().as_secs() + 2);
    rig.tunnel.server().signal(Signal::Term)?;
    let gap = |line: &Value| line["event"] == "client_refused";
    rig.tunnel.audited(|line| line["event"] == "stop").await?;
    let lines = rig.tunnel.audit_lines()?;
    let own: Vec<_> = lines
        .iter()
        .filter(|line| line["path"] == "/small")
        .collect();
    let count = |line: &Value| line["count"].as_u64().unwrap_or_default();
    let unsaid: u64 = lines.iter().filter(|line| gap(line)).map(count).sum();
    ensure!(own.len() as u64 <= most, "{} lines", own.len());
    assert_eq!(own.len() as u64 + unsaid, SENT, "each is counted");
    let told = lines
        .iter()
        .find(|line| gap(line))
        .context("a line of them")?;
    assert_eq!(told["client"], "127.0.0.1");
    let longest = own.iter().map(|line| line.to_string().len()).max();
    ensure!(longest < Some(10_000), "texts are cut: {longest:?}");
    Ok(())
}

#[tokio::test]
async fn strangers_have_so_many_connections_and_known_clients_as_many_as_they_like() -> Result<()> {
    let rig = Rig::with("limits: { address: { connections: 4 } }", "").await?;
    // More than that, one after the other: each has shown a good credential and counts no more.
    let mut known = Vec::new();
    for _ in 0..8 {
        let mut connection = rig.client(Http::Two)?.connect().await?;
        assert_eq!(connection.get("/small").await?.status(), 200);
        known.push(connection);
    }
    let mut strangers = Vec::new();
    for _ in 0..4 {
        strangers.push(rig.raw().await?);
    }
    ensure!(rig.raw().await.is_err(), "a fifth stranger");
    let refused = "ci_tunnel_server_client_connections_failed_total{reason=\"crowded\"}";
    ensure!(rig.tunnel.metric(refused).await? >= 1.0, "{refused}");
    for connection in &mut known {
        assert_eq!(connection.get("/small").await?.status(), 200);
    }
    drop(strangers);
    let again = async { while rig.raw().await.is_err() {} };
    within("room for a stranger", again).await
}
