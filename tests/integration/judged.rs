//! Running requests are judged again: whatever takes a permit away ends every kind of stream, never as if it were whole,
//! and the audit says why. What keeps its permit goes on.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use ci_tunnel_tests::client::{Client, Feeder, Http, empty, fed};
use ci_tunnel_tests::deadline::within_time;
use ci_tunnel_tests::process::Signal;
use http::{Method, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::rig::{AGENT, BOTH, CONFIG, JOB, Rig};

/// From the change to the end of the last stream.
const LIMIT: Duration = Duration::from_secs(5);

/// Streams of every kind, which all run: a watch and an upload over each HTTP, and an upgraded connection.
struct Running {
    watches: Vec<Response<Incoming>>,
    uploads: Vec<(Feeder, Response<Incoming>)>,
    exec: TokioIo<Upgraded>,
    /// Their connections live as long.
    _clients: Vec<Client>,
}

const KINDS: usize = 5;

impl Running {
    async fn begin(rig: &Rig, bearer: &str) -> Result<Self> {
        let (mut watches, mut uploads, mut clients) = (Vec::new(), Vec::new(), Vec::new());
        for http in BOTH {
            let client = rig.client_as(http, bearer)?;
            let request = client.request(Method::GET, "/watch").body(empty())?;
            watches.push(client.send(request).await?);
            let (feeder, body) = fed();
            let request = client.request(Method::POST, "/echo").body(body)?;
            uploads.push((feeder, client.send(request).await?));
            clients.push(client);
        }
        let switched = rig.client_as(Http::One, bearer)?;
        let exec = switched.upgrade("/upgrade/echo", "SPDY/3.1").await?.io()?;
        let mut running = Self {
            watches,
            uploads,
            exec,
            _clients: clients,
        };
        running.go_on(rig).await?;
        Ok(running)
    }

    /// Something gets through each of them.
    async fn go_on(&mut self, rig: &Rig) -> Result<()> {
        rig.api.push_event(&json!({"an": "event"})).await?;
        for watch in &mut self.watches {
            some(watch).await?;
        }
        for (feeder, response) in &mut self.uploads {
            feeder.data("a piece").await?;
            some(response).await?;
        }
        self.exec.write_all(b"key").await?;
        self.exec.flush().await?;
        let mut back = [0; 3];
        within_time(LIMIT, "the echo", self.exec.read_exact(&mut back)).await??;
        Ok(())
    }

    /// Each breaks off; how long after `since` the last one did.
    async fn until_cut(mut self, since: Instant, limit: Duration) -> Result<Duration> {
        for watch in &mut self.watches {
            breaks("a watch", watch, limit).await?;
        }
        for (_feeder, response) in &mut self.uploads {
            breaks("an upload", response, limit).await?;
        }
        let mut rest = Vec::new();
        let end = within_time(limit, "the exec's end", self.exec.read_to_end(&mut rest)).await?;
        ensure!(end.is_err(), "the exec ended as if it were whole");
        Ok(since.elapsed())
    }
}

async fn some(response: &mut Response<Incoming>) -> Result<Bytes> {
    let frame = within_time(LIMIT, "a piece", response.frame()).await?;
    let frame = frame.context("it ended")??;
    frame.into_data().ok().context("trailers")
}

async fn breaks(what: &str, response: &mut Response<Incoming>, limit: Duration) -> Result<()> {
    loop {
        match within_time(limit, &format!("{what} to be cut"), response.frame()).await? {
            None => bail!("{what} ended as if it were whole"),
            Some(Err(_)) => return Ok(()),
            Some(Ok(_)) => {}
        }
    }
}

/// As many lines as there are streams say so, and the metrics count them.
async fn told(rig: &Rig, label: &str, code: &str, words: &str) -> Result<()> {
    let is_one = |line: &Value| line["end"]["cut"] == label;
    let all = async {
        loop {
            let lines = rig.tunnel.audit_lines()?;
            let lines: Vec<_> = lines.into_iter().filter(is_one).collect();
            if lines.len() >= KINDS {
                return Ok::<_, anyhow::Error>(lines);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let lines = within_time(LIMIT, &format!("{KINDS} lines of {label}"), all).await??;
    for line in lines {
        let message = line["message"].as_str().context("no message")?;
        ensure!(line["code"] == code && message.contains(words), "{line}");
    }
    let series = format!("ci_tunnel_server_cuts_total{{reason=\"{label}\"}}");
    let counted = rig.tunnel.metric(&series).await?;
    ensure!(counted == KINDS as f64, "{series} {counted}");
    rig.api.wait_for_watchers(0).await
}

#[tokio::test]
async fn rules_that_deny_it_now() -> Result<()> {
    let rig = Rig::start().await?;
    let running = Running::begin(&rig, &rig.bearer()).await?;
    let begin = Instant::now();
    let other = CONFIG.replace("acme/shop", "acme/other");
    rig.tunnel.write_config(AGENT, &other)?;
    let took = running.until_cut(begin, LIMIT).await?;
    println!("rules: cut after {took:?}");
    told(&rig, "rules", "permit_lost", "acme/shop").await
}

#[tokio::test]
async fn rules_that_give_another_identity_now() -> Result<()> {
    let rig = Rig::start().await?;
    let mut running = Running::begin(&rig, &rig.bearer()).await?;
    // Another rule, the same identity.
    let group = "ci_access: { groups: [{ id: acme, access_as: { ci_job: {} } }] }";
    rig.tunnel.write_config(AGENT, group)?;
    let fresh = async {
        loop {
            rig.client(Http::Two)?.get("/small").await?;
            let by = |line: &Value| line["rule"].to_string().contains("groups[0]");
            if rig.tunnel.audit_lines()?.iter().any(by) {
                return Ok::<_, anyhow::Error>(());
            }
        }
    };
    within_time(LIMIT, "the group's rule to be in force", fresh).await??;
    running.go_on(&rig).await?;

    let begin = Instant::now();
    rig.tunnel
        .write_config(AGENT, &CONFIG.replace("ci_job", "ci_user"))?;
    let took = running.until_cut(begin, LIMIT).await?;
    println!("identity: cut after {took:?}");
    told(&rig, "identity", "permit_lost", "another identity").await
}

#[tokio::test]
async fn a_job_token_that_is_revoked() -> Result<()> {
    let rig = Rig::start().await?;
    let revoked = rig.tunnel.job_token(&JOB).await?;
    let running = Running::begin(&rig, &rig.bearer_of(&revoked)).await?;
    let begin = Instant::now();
    rig.revoke(&revoked).await?;
    let took = running.until_cut(begin, LIMIT).await?;
    println!("token: cut after {took:?}");
    told(&rig, "token", "permit_lost", "revoked").await?;
    Running::begin(&rig, &rig.bearer()).await?.go_on(&rig).await
}

#[tokio::test]
async fn a_session_credential_whose_parent_is_revoked() -> Result<()> {
    let rig = Rig::start().await?;
    let kubeconfig = std::fs::read_to_string(rig.kubeconfig().await?)?;
    let bearer = kubeconfig
        .lines()
        .find_map(|line| line.trim().strip_prefix("token: "));
    let bearer = bearer
        .context("a token in the KUBECONFIG")?
        .trim_matches(['"', '\'']);
    let running = Running::begin(&rig, bearer).await?;
    let begin = Instant::now();
    rig.revoke(&rig.job).await?;
    let took = running.until_cut(begin, LIMIT).await?;
    println!("parent: cut after {took:?}");
    told(&rig, "token", "permit_lost", "revoked").await?;
    let issued = |line: &Value| line["issued"][0]["agent"]["name"] == AGENT;
    let issued = rig.tunnel.audited(issued).await?;
    let session = |line: &Value| line["token"] == issued["issued"][0]["token"];
    let session = rig.tunnel.audited(session).await?;
    assert_eq!(session["parents"], json!([issued["token"]]), "{session}");
    Ok(())
}

#[tokio::test]
async fn an_agent_token_that_is_revoked() -> Result<()> {
    let rig = Rig::with("timeouts: { hold: 0s }", "").await?;
    let running = Running::begin(&rig, &rig.bearer()).await?;
    let waiting = rig.client(Http::Two)?;
    let request = waiting.request(Method::GET, "/slow").body(empty())?;
    let waiting = tokio::spawn(async move { waiting.send(request).await });
    rig.api
        .recorder()
        .wait_for("it", |seen| seen.target == "/slow")
        .await?;
    let list = ["agent", "token", "list", AGENT, "--json"];
    let tokens: Value = serde_json::from_str(&rig.tunnel.cli(&list).await?)?;
    let id = &tokens[0]["id"];
    let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
    let begin = Instant::now();
    rig.tunnel.cli(&["agent", "token", "revoke", &id]).await?;
    let took = running.until_cut(begin, LIMIT).await?;
    println!("agent token: cut after {took:?}");
    // The job has lost nothing: it may ask again.
    let answer = waiting.await??;
    assert_eq!(answer.status(), 503);
    ensure!(answer.headers().contains_key("retry-after"));
    let is_one = |line: &Value| line["end"]["cut"] == "agent_token";
    let line = rig.tunnel.audited(is_one).await?;
    assert_eq!(line["code"], "token_rejected", "{line}");
    let message = line["message"].as_str().unwrap_or_default();
    ensure!(message.contains("agent token has been revoked"), "{line}");
    rig.api.wait_for_watchers(0).await
}

#[tokio::test]
async fn an_agent_that_is_deleted() -> Result<()> {
    let rig = Rig::start().await?;
    let running = Running::begin(&rig, &rig.bearer()).await?;
    let begin = Instant::now();
    rig.tunnel.cli(&["agent", "delete", AGENT]).await?;
    let took = running.until_cut(begin, LIMIT).await?;
    println!("agent deleted: cut after {took:?}");
    told(&rig, "agent_deleted", "agent_deleted", "").await
}

/// No permit is lost, but nobody is there any more to carry anything.
#[tokio::test]
async fn an_agent_that_dies() -> Result<()> {
    let quick = "quic: { idle_timeout: 2s, keep_alive: 500ms }";
    let rig = Rig::with(quick, quick).await?;
    let running = Running::begin(&rig, &rig.bearer()).await?;
    let begin = Instant::now();
    rig.tunnel.agent(0).signal(Signal::Kill)?;
    let took = running.until_cut(begin, Duration::from_secs(20)).await?;
    println!("agent killed: broken after {took:?}");
    let is_one = |line: &Value| line["end"]["broken"].is_string() && line["code"] == "lost";
    rig.tunnel.audited(is_one).await.map(drop)
}

/// A client that does not read its response would not ask for the news in it.
#[tokio::test]
async fn a_client_that_does_not_read() -> Result<()> {
    let rig = Rig::start().await?;
    let job = rig.tunnel.job_token(&JOB).await?;
    let mut stalled = Vec::new();
    for http in BOTH {
        let client = rig.client_as(http, &rig.bearer_of(&job))?;
        let request = client
            .request(Method::GET, "/bytes?n=1000000000000")
            .body(empty())?;
        stalled.push((client.send(request).await?, client));
    }
    // Until all buffers on the way are full, or nearly: it is not what is tested, only made likely.
    tokio::time::sleep(Duration::from_millis(500)).await;
    rig.revoke(&job).await?;
    let lines = async {
        loop {
            let lines = rig.tunnel.audit_lines()?;
            let cut = lines.iter().filter(|line| line["end"]["cut"] == "token");
            if cut.count() == stalled.len() {
                return Ok::<_, anyhow::Error>(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within_time(LIMIT, "the audit's lines", lines).await??;
    let gone = |seen: &ci_tunnel_tests::apiserver::Received| seen.is_gone();
    rig.api
        .recorder()
        .wait_for("its end at the API server", gone)
        .await?;
    for (mut response, _client) in stalled {
        breaks("a download", &mut response, Duration::from_secs(20)).await?;
    }
    Ok(())
}
