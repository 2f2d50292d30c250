//! Endings before the end: each side learns at once that the other is gone, and nothing cut looks whole.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use ci_tunnel_tests::apiserver::Received;
use ci_tunnel_tests::client::{Client, Http, empty, fed};
use ci_tunnel_tests::deadline::within;
use http::Method;
use http_body_util::BodyExt as _;

use crate::rig::{BOTH, Rig, SOON};

#[tokio::test]
async fn a_broken_answer_never_looks_whole() -> Result<()> {
    let rig = Rig::start().await?;
    for target in [
        "/break?after=100000",
        "/break?after=100000&chunked=true",
        "/break?after=0",
        "/break?after=10&chunked=true",
    ] {
        for http in BOTH {
            let client = rig.client(http)?;
            let request = client.request(Method::GET, target).body(empty())?;
            let answer = match client.send(request).await {
                // Nothing of it was here yet.
                Ok(response) if response.status() == 502 => continue,
                Ok(response) => within("its end", response.into_body().collect())
                    .await?
                    .map(drop),
                // The head may be lost with the body.
                Err(_) => continue,
            };
            ensure!(
                answer.is_err(),
                "{target} over {http:?} ended as if it were whole"
            );
        }
        let mut raw = rig.raw().await?;
        raw.write(rig.head(&format!("GET {target}")) + "Connection: close\r\n\r\n")
            .await?;
        let wire = String::from_utf8_lossy(&raw.rest(SOON * 5).await?).into_owned();
        ensure!(
            !wire.ends_with("0\r\n\r\n"),
            "{target}: the last chunk of a broken body"
        );
    }
    let line = rig
        .tunnel
        .audited(|line| line["end"].to_string().contains("broken"))
        .await;
    line.context("an audit line that says so").map(drop)
}

#[tokio::test]
async fn a_client_that_leaves_a_silent_watch_is_missed_at_once() -> Result<()> {
    let rig = Rig::start().await?;
    for http in BOTH {
        let mut connection = rig.client(http)?.connect().await?;
        let request = connection.request(Method::GET, "/watch").body(empty())?;
        let response = connection.send(request).await?;
        rig.api.wait_for_watchers(1).await?;
        let begin = Instant::now();
        connection.cut().await;
        rig.api.wait_for_watchers(0).await?;
        soon("a silent watch", http, begin, Instant::now())?;
        drop(response);
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_a_download_is_missed_at_once() -> Result<()> {
    let rig = Rig::start().await?;
    for http in BOTH {
        let mut connection = rig.client(http)?.connect().await?;
        let target = "/bytes?n=1000000000000";
        let request = connection.request(Method::GET, target).body(empty())?;
        let mut response = connection.send(request).await?;
        within("some of it", response.frame())
            .await?
            .context("bytes")??;
        gone(&rig, "a download", http, target, connection.cut()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_is_missed_at_once() -> Result<()> {
    let rig = Rig::start().await?;
    for http in BOTH {
        let mut connection = rig.client(http)?.connect().await?;
        let request = connection.request(Method::GET, "/slow").body(empty())?;
        let asked = tokio::spawn(async move {
            let _ = connection.send(request).await;
        });
        rig.api
            .recorder()
            .wait_for("it", |seen| seen.target == "/slow")
            .await?;
        gone(&rig, "a request without an answer", http, "/slow", async {
            asked.abort()
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_an_upload_is_missed_at_once() -> Result<()> {
    let rig = Rig::start().await?;
    for http in BOTH {
        let mut connection = rig.client(http)?.connect().await?;
        let (feeder, body) = fed();
        let request = connection.request(Method::POST, "/echo").body(body)?;
        let mut response = connection.send(request).await?;
        feeder.data("some of it").await?;
        within("some of it", response.frame())
            .await?
            .context("bytes")??;
        let begin = Instant::now();
        connection.cut().await;
        let broke = |seen: &Received| seen.body.broke.is_some() || seen.is_gone();
        let seen = rig
            .api
            .recorder()
            .wait_for("the broken upload", broke)
            .await?;
        soon(
            "an upload",
            http,
            begin,
            seen.body.broke.unwrap_or_else(Instant::now),
        )?;
        ensure!(seen.body.sha256.is_none(), "a broken upload looks whole");
        rig.api.recorder().forget();
    }
    Ok(())
}

/// One stream of a connection that goes on with others.
#[tokio::test]
async fn a_request_that_is_given_up_alone_is_missed_at_once() -> Result<()> {
    let rig = Rig::start().await?;
    let client: Client = rig.client(Http::Two)?;
    let mut connection = client.connect().await?;
    let watch = connection.request(Method::GET, "/watch").body(empty())?;
    let watch = connection.send(watch).await?;
    let target = "/bytes?n=1000000000000";
    let request = connection.request(Method::GET, target).body(empty())?;
    let response = connection.send(request).await?;
    gone(&rig, "one of two requests", Http::Two, target, async {
        drop(response)
    })
    .await?;
    assert_eq!(connection.get("/small").await?.status(), 200);
    drop(watch);
    rig.api.wait_for_watchers(0).await
}

/// After `leave` the API server's side of the request to `target` is closed soon.
async fn gone(
    rig: &Rig,
    what: &str,
    http: Http,
    target: &str,
    leave: impl Future<Output = ()>,
) -> Result<()> {
    let begin = Instant::now();
    leave.await;
    let is_gone = |seen: &Received| seen.target == target && seen.is_gone();
    rig.api.recorder().wait_for("its end", is_gone).await?;
    rig.api.recorder().forget();
    soon(what, http, begin, Instant::now())
}

fn soon(what: &str, http: Http, begin: Instant, end: Instant) -> Result<()> {
    let took = end.saturating_duration_since(begin);
    println!("client gone during {what} over {http:?}: noticed after {took:?}");
    ensure!(took < SOON, "noticed after {took:?} only");
    Ok(())
}
