//! Every refusal as its client sees it: code, reason, headers, and a message that says what to do and how to find the request again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use ci_tunnel_tests::client::{Client, Http, empty, fed};
use ci_tunnel_tests::deadline::within;
use ci_tunnel_tests::process::Signal;
use http::header::{HeaderMap, HeaderValue};
use http::{Method, Response};
use serde_json::Value;

use crate::rig::{AGENT, BOTH, CONFIG, JOB, Rig};

/// A refusal in all its parts, and the audit's line of it.
#[derive(Debug)]
struct Refused {
    message: String,
    retry_after: Option<u64>,
    headers: HeaderMap,
    audit: Value,
}

/// Checks the form that all refusals have.
async fn refused(rig: &Rig, response: Response<Bytes>, code: u16, reason: &str) -> Result<Refused> {
    let (head, body) = response.into_parts();
    let status: Value = serde_json::from_slice(&body)
        .with_context(|| format!("{} is no Status: {body:?}", head.status))?;
    ensure!(
        head.status.as_u16() == code,
        "{} instead of {code}: {status}",
        head.status
    );
    assert_eq!(head.headers["content-type"], "application/json");
    let wanted = ("Status", "v1", "Failure", reason, u64::from(code));
    let text = |key: &str| status[key].as_str().unwrap_or_default();
    let got = (
        text("kind"),
        text("apiVersion"),
        text("status"),
        text("reason"),
        status["code"].as_u64().unwrap_or(0),
    );
    assert_eq!(got, wanted, "{status}");

    let cause = &status["details"]["causes"][0];
    assert_eq!(cause["reason"], "RequestID", "{status}");
    let id = cause["message"].as_str().context("a request id")?;
    let message = text("message").to_owned();
    ensure!(message.starts_with("ci-tunnel: "), "who says it? {message}");
    ensure!(
        message.contains(id),
        "clients print the message alone: {message}"
    );

    let audit = rig.tunnel.audited(|line| line["request_id"] == id).await?;
    assert_eq!(audit["status"], code, "{audit}");
    let logged = |line: &str| line.contains(id);
    rig.tunnel
        .server()
        .wait_for_line("the request's id in the log", logged)
        .await?;

    let retry_after = match head.headers.get("retry-after") {
        Some(seconds) => Some(seconds.to_str()?.parse::<u64>()?),
        None => None,
    };
    assert_eq!(
        status["details"]["retryAfterSeconds"].as_u64(),
        retry_after,
        "{status}"
    );
    println!("{code} {reason}: {message}");
    Ok(Refused {
        message,
        retry_after,
        headers: head.headers,
        audit,
    })
}

impl Refused {
    /// Its message tells all of this.
    fn says(self, words: &[&str]) -> Result<Self> {
        for word in words {
            ensure!(
                self.message.contains(word),
                "nothing of {word:?} in {:?}",
                self.message
            );
        }
        Ok(self)
    }

    fn retry(self, wanted: bool) -> Result<Self> {
        ensure!(
            self.retry_after.is_some() == wanted,
            "Retry-After: {:?}",
            self.retry_after
        );
        Ok(self)
    }
}

async fn with_header(client: &Client, name: &str, value: &str) -> Result<Response<Bytes>> {
    let mut connection = client.connect().await?;
    let request = connection
        .request(Method::GET, "/small")
        .header(name, value);
    connection.whole(request.body(empty())?).await
}

#[tokio::test]
async fn malformed_requests() -> Result<()> {
    let rig = Rig::start().await?;
    for http in BOTH {
        let client = rig.client(http)?;
        let response = client.get("/api/v1/namespaces/a/../b/pods").await?;
        refused(&rig, response, 400, "BadRequest")
            .await?
            .says(&["malformed"])?
            .retry(false)?;
        let response = client.get("/api/v1/pods%2fx").await?;
        refused(&rig, response, 400, "BadRequest")
            .await?
            .says(&["slash"])?
            .retry(false)?;
        let response = with_header(&client, "x-long", &"a".repeat(50 * 1024)).await?;
        refused(&rig, response, 431, "RequestHeaderFieldsTooLarge")
            .await?
            .says(&["longer than", "bytes"])?
            .retry(false)?;
    }
    ensure!(
        rig.api
            .recorder()
            .received()
            .iter()
            .all(|seen| seen.path() == "/version")
    );
    Ok(())
}

#[tokio::test]
async fn credentials_that_are_none() -> Result<()> {
    let rig = Rig::start().await?;
    let elsewhere = Rig::start().await?;
    let expired = rig
        .tunnel
        .job_token(&[&JOB[..], &["--ttl", "1s"]].concat())
        .await?;
    let revoked = rig.tunnel.job_token(&JOB).await?;
    rig.revoke(&revoked).await?;
    // Good for the second that it lasts, and then not.
    let client = rig.client_as(Http::Two, &rig.bearer_of(&expired))?;
    let until_expired = async {
        while client.get("/small").await?.status() != 401 {
            tokio::task::yield_now().await;
        }
        anyhow::Ok(())
    };
    within("the token's end", until_expired).await??;
    let until_revoked = async {
        let client = rig.client_as(Http::Two, &rig.bearer_of(&revoked))?;
        while client.get("/small").await?.status() != 401 {
            tokio::task::yield_now().await;
        }
        anyhow::Ok(())
    };
    within("the token's revocation", until_revoked).await??;

    let garbled = format!("{}x", rig.bearer());
    let foreign = rig.bearer_of(&elsewhere.job);
    let cases = [
        ("not-ours".to_owned(), "ci:"),
        (garbled, "credential"),
        (rig.bearer_of(&expired), "expired"),
        (rig.bearer_of(&revoked), "revoked"),
        (foreign, "signature"),
        (rig.bearer_of("abc"), "credential"),
    ];
    for http in BOTH {
        for (bearer, word) in &cases {
            let response = rig.client_as(http, bearer)?.get("/small").await?;
            let refused = refused(&rig, response, 401, "Unauthorized")
                .await?
                .says(&[word])?
                .retry(false)?;
            assert_eq!(
                refused.headers["www-authenticate"],
                "Bearer realm=\"ci-tunnel\""
            );
            ensure!(
                !refused.message.contains(bearer.as_str()),
                "a refusal repeats the credential"
            );
        }
    }
    let mut raw = rig.raw().await?;
    let host = rig.tunnel.api_addr();
    raw.write(format!("GET /small HTTP/1.1\r\nHost: {host}\r\n\r\n"))
        .await?;
    let response = raw.response().await?.context("an answer")?;
    assert_eq!(
        (
            response.status,
            response.header("www-authenticate").is_some()
        ),
        (401, true)
    );
    Ok(())
}

#[tokio::test]
async fn what_no_rule_allows() -> Result<()> {
    let rig = Rig::start().await?;
    let other = rig.another_agent("acme/infra:other").await?;
    for http in BOTH {
        let unknown = rig
            .client_as(http, &format!("ci:999999:{}", rig.job))?
            .get("/small")
            .await?;
        let unknown = refused(&rig, unknown, 403, "Forbidden")
            .await?
            .retry(false)?;
        let known = rig
            .client_as(http, &format!("ci:{other}:{}", rig.job))?
            .get("/small")
            .await?;
        let known = refused(&rig, known, 403, "Forbidden")
            .await?
            .says(&["rule"])?
            .retry(false)?;
        // Nobody learns from it which agents there are.
        assert_eq!(
            plain(&unknown, "999999"),
            plain(&known, &other.to_string()),
            "an agent that exists and one that does not are told apart"
        );

        let client = rig.client(http)?;
        let asked = with_header(&client, "impersonate-user", "root").await?;
        refused(&rig, asked, 403, "Forbidden")
            .await?
            .says(&["--as", "access_as: agent", "gitlab:ci_job:7"])?
            .retry(false)?;
    }
    let stranger = rig
        .tunnel
        .job_token(&["--project", "elsewhere/app"])
        .await?;
    let response = rig
        .client_as(Http::Two, &rig.bearer_of(&stranger))?
        .get("/small")
        .await?;
    let line = refused(&rig, response, 403, "Forbidden").await?.audit;
    assert_eq!(line["job"]["project"]["path"], "elsewhere/app", "{line}");
    Ok(())
}

/// The message less what differs from request to request.
fn plain(refused: &Refused, agent: &str) -> String {
    let without_id = refused
        .message
        .split(" (request ")
        .next()
        .unwrap_or_default();
    without_id.replacen(agent, "N", 1)
}

#[tokio::test]
async fn too_many_requests() -> Result<()> {
    let limits = "limits: { job: { requests_per_second: 1000, concurrent: 1 }, \
                  project: { requests_per_second: 3, concurrent: 0 } }";
    let rig = Rig::with(limits, "").await?;
    let client = rig.client(Http::Two)?;
    let watch = client
        .send(client.request(Method::GET, "/watch").body(empty())?)
        .await?;
    rig.api.wait_for_watchers(1).await?;
    let response = client.get("/small").await?;
    let refusal = refused(&rig, response, 429, "TooManyRequests")
        .await?
        .says(&["this job", "try again"])?;
    assert_eq!(refusal.retry_after, Some(1));
    drop(watch);
    rig.api.wait_for_watchers(0).await?;

    let mut counts = (0, 0);
    for _ in 0..20 {
        let response = client.get("/small").await?;
        if response.status() == 200 {
            counts.0 += 1;
            continue;
        }
        counts.1 += 1;
        if counts.1 == 1 {
            let refusal = refused(&rig, response, 429, "TooManyRequests").await?;
            refusal.says(&["project", "try again"])?.retry(true)?;
        }
    }
    ensure!(
        counts.0 > 0 && counts.1 > 0,
        "(passed, refused): {counts:?}"
    );
    let counted = rig
        .tunnel
        .metric("ci_tunnel_server_refusals_total{reason=\"too_many_requests\"}")
        .await?;
    ensure!(
        counted >= 2.0,
        "{counted} refusals counted: {}",
        rig.tunnel.metrics().await?
    );
    Ok(())
}

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

/// `access_as: agent` is the one that may act as others.
#[tokio::test]
async fn impersonation_is_the_agents_to_allow() -> Result<()> {
    let rig = Rig::configured(&CONFIG.replace("ci_job", "agent"), "", "").await?;
    for http in BOTH {
        let client = rig.client(http)?;
        let response = with_header(&client, "impersonate-user", "ann").await?;
        assert_eq!(response.status(), 200);
        let seen = rig
            .api
            .recorder()
            .wait_for("it", |seen| seen.target == "/small")
            .await?;
        assert_eq!(seen.sole("impersonate-user").as_deref(), Some("ann"));
        assert_eq!(
            seen.sole("authorization")
                .map(HeaderValue::try_from)
                .transpose()?,
            Some(HeaderValue::try_from(format!(
                "Bearer {}",
                rig.api.token()
            ))?)
        );
        rig.api.recorder().forget();
    }
    Ok(())
}
