//! Ends that the server makes: what is cut says whether it may be asked again, and what never begins has an end too.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ci_tunnel_tests::client::{Http, Raw, empty};
use http::Method;
use http::header::RETRY_AFTER;

use crate::rig::Rig;

#[tokio::test]
async fn a_restart_asks_to_repeat_only_what_is_safe_to_repeat() -> Result<()> {
    let rig = Rig::with("timeouts: { drain: 1s }", "").await?;
    let mut asked = Vec::new();
    for method in [Method::GET, Method::POST, Method::PATCH] {
        let client = rig.client(Http::One)?;
        let request = client.request(method.clone(), "/slow").body(empty())?;
        let name = method.clone();
        asked.push((
            name,
            tokio::spawn(async move { client.send(request).await }),
        ));
        rig.api
            .recorder()
            .wait_for("it", |seen| seen.method == method)
            .await?;
    }
    rig.tunnel.server().term()?;
    for (method, answer) in asked {
        let answer = answer.await??;
        ensure!(answer.status() == 503, "{method}: {}", answer.status());
        let again = answer.headers().contains_key(RETRY_AFTER);
        ensure!(again == (method == Method::GET), "{method}: Retry-After");
    }
    Ok(())
}

#[tokio::test]
async fn an_http2_connection_that_says_nothing_is_closed() -> Result<()> {
    let rig = Rig::with("timeouts: { request_head: 1s }", "").await?;
    let (addr, ca) = (rig.tunnel.api_addr(), rig.tunnel.ca_pem());
    let mut raw = Raw::connect(addr, ca, "h2").await?;
    let end = raw.rest(Duration::from_secs(5)).await;
    end.context("it stays open").map(drop)
}

#[tokio::test]
async fn a_connection_is_never_switched_to_another_http() -> Result<()> {
    let rig = Rig::start().await?;
    for protocol in ["h2c", "HTTP/2.0", "TLS/1.2", "websocket, h2c"] {
        let mut raw = rig.raw().await?;
        let head = rig.head("GET /upgrade/echo");
        raw.write(format!(
            "{head}Connection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
        ))
        .await?;
        let answer = raw.response().await?.context("an answer")?;
        ensure!(answer.status == 400, "{protocol}: {}", answer.status);
    }
    let seen = rig.api.recorder().received();
    let arrived = seen.iter().any(|seen| seen.target.starts_with("/upgrade"));
    ensure!(!arrived, "it reached the API server");
    Ok(())
}
