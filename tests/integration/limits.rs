//! Limits: what is refused says by which, what is slowed loses nothing, and what runs goes on.

mod strangers;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ci_tunnel_tests::client::{Http, Raw, empty, full};
use ci_tunnel_tests::deadline::{within, within_time};
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::rig::{BOTH, JOB, Rig};

const TWO_PROJECTS: &str =
    "ci_access: { projects: [{ id: acme/shop, access_as: { ci_job: {} } }, { id: globex/web }] }";
/// For what would take far longer if it went wrong, on a machine that others load.
const PATIENCE: Duration = Duration::from_secs(40);

#[tokio::test]
async fn an_agents_limit_is_over_all_projects_and_drops_nothing_that_runs() -> Result<()> {
    let limits = "limits: { agent: { concurrent: 1 } }";
    let rig = Rig::configured(TWO_PROJECTS, limits, "").await?;
    let client = rig.client(Http::Two)?;
    let request = client.request(Method::GET, "/watch").body(empty())?;
    let mut watch = client.send(request).await?;
    rig.api.wait_for_watchers(1).await?;

    let stranger = rig.tunnel.job_token(&["--project", "globex/web"]).await?;
    let other = rig.client_as(Http::Two, &rig.bearer_of(&stranger))?;
    let refused = other.get("/small").await?;
    assert_eq!(refused.status(), 429);
    let after = refused
        .headers()
        .get("retry-after")
        .context("no Retry-After")?;
    let after: u64 = after.to_str()?.parse()?;
    ensure!((1..=5).contains(&after), "Retry-After: {after}");
    let status: Value = serde_json::from_slice(refused.body())?;
    let message = status["message"].as_str().unwrap_or_default();
    ensure!(
        message.contains("this agent, over all jobs")
            && message.contains("limits.agent.concurrent"),
        "{message}"
    );
    let line = |line: &Value| line["end"]["refused"] == "too_many_requests";
    let line = rig.tunnel.audited(line).await?;
    ensure!(
        line["message"]
            .to_string()
            .contains("limits.agent.concurrent"),
        "{line}"
    );
    let series = "ci_tunnel_server_limited_total{scope=\"agent\",limit=\"concurrent\"}";
    ensure!(rig.tunnel.metric(series).await? >= 1.0, "{series}");

    rig.api.push_event(&json!({"still": "there"})).await?;
    within("the watch's event", watch.frame())
        .await?
        .context("it ended")??;
    drop(watch);
    rig.api.wait_for_watchers(0).await?;
    assert_eq!(other.get("/small").await?.status(), 200);
    Ok(())
}

#[tokio::test]
async fn bytes_over_the_limit_wait_and_arrive() -> Result<()> {
    let rig = Rig::with("limits: { job: { bytes_per_second: 2MiB } }", "").await?;
    let begin = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for http in BOTH {
        let client = rig.client(http)?;
        running.spawn(async move {
            let request = client
                .request(Method::GET, "/bytes?n=3000000")
                .body(empty())?;
            let response = client.send(request).await?;
            let body = within_time(PATIENCE, "a download", response.into_body().collect());
            let body = body.await??.to_bytes();
            ensure!(body.len() == 3_000_000, "{} bytes", body.len());
            Ok::<_, anyhow::Error>(())
        });
        let client = rig.client(http)?;
        running.spawn(async move {
            let sent: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
            let request = client
                .request(Method::POST, "/echo")
                .body(full(sent.clone()))?;
            let response = within_time(PATIENCE, "an upload", client.send(request)).await??;
            let body = within_time(PATIENCE, "its echo", response.into_body().collect());
            ensure!(body.await??.to_bytes() == sent, "another echo");
            Ok(())
        });
    }
    let downloads = async {
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        Ok::<_, anyhow::Error>(begin.elapsed())
    };
    // Other jobs do not wait for this one, and neither do this one's keys.
    let meanwhile = async {
        let job = ["--project", "acme/shop", "--job-id", "8"];
        let other = rig.tunnel.job_token(&job).await?;
        let other = rig.client_as(Http::Two, &rig.bearer_of(&other))?;
        ensure!(other.get("/bytes?n=1500000").await?.body().len() == 1_500_000);
        let other = begin.elapsed();
        let client = rig.client(Http::One)?;
        let mut io = client.upgrade("/upgrade/echo", "SPDY/3.1").await?.io()?;
        let mut slowest = Duration::ZERO;
        for _ in 0..5 {
            let begin = Instant::now();
            io.write_all(b"key").await?;
            io.flush().await?;
            within("the echo", io.read_exact(&mut [0; 3])).await??;
            slowest = slowest.max(begin.elapsed());
        }
        Ok((other, slowest))
    };
    let (took, (other, slowest)) = tokio::try_join!(downloads, meanwhile)?;
    println!("10 MB at 2 MiB/s took {took:?}; another job {other:?}; slowest key {slowest:?}");
    // 10 MB both ways together, 2 MiB of it saved up: 3.8 s at least.
    ensure!(took > Duration::from_secs(3), "not slowed: {took:?}");
    let series = "ci_tunnel_server_limited_total{scope=\"job\",limit=\"bytes_per_second\"}";
    ensure!(rig.tunnel.metric(series).await? > 0.0, "{series}");
    ensure!(rig.tunnel.metric("ci_tunnel_server_cuts_total").await? == 0.0);
    Ok(())
}

#[tokio::test]
async fn an_upgraded_connection_over_the_limit_loses_nothing() -> Result<()> {
    let rig = Rig::with("limits: { project: { bytes_per_second: 2MiB } }", "").await?;
    let client = rig.client(Http::One)?;
    let io = client.upgrade("/upgrade/echo", "SPDY/3.1").await?.io()?;
    let (mut reader, mut writer) = tokio::io::split(io);
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let mut back = Vec::new();
    let begin = Instant::now();
    let write = async {
        writer.write_all(&sent).await?;
        writer.shutdown().await
    };
    let both = async { tokio::join!(write, reader.read_to_end(&mut back)) };
    let (wrote, read) = within_time(PATIENCE, "3 MB and back", both).await?;
    wrote?;
    read?;
    ensure!(
        back == sent,
        "{} of {} bytes came back",
        back.len(),
        sent.len()
    );
    let took = begin.elapsed();
    ensure!(took > Duration::from_millis(1500), "not slowed: {took:?}");
    Ok(())
}

#[tokio::test]
async fn limits_are_read_again_and_leave_what_runs() -> Result<()> {
    let rig = Rig::with("limits: { job: { concurrent: 1 } }", "").await?;
    let client = rig.client(Http::Two)?;
    let request = client.request(Method::GET, "/watch").body(empty())?;
    let _watch = client.send(request).await?;
    assert_eq!(client.get("/small").await?.status(), 429);
    rig.tunnel.reload("limits: { job: { concurrent: 2 } }")?;
    let again = |line: &str| line.contains("limits read again");
    rig.tunnel
        .server()
        .wait_for_line("the reading", again)
        .await?;
    assert_eq!(client.get("/small").await?.status(), 200);

    rig.tunnel.reload("limits: { job: { concurrent: many } }")?;
    let stay = |line: &str| line.contains("the old ones stay");
    rig.tunnel
        .server()
        .wait_for_line("the mistake", stay)
        .await?;
    assert_eq!(client.get("/small").await?.status(), 200);
    rig.api.wait_for_watchers(1).await
}

#[tokio::test]
async fn a_known_connection_may_be_idle_for_longer_than_a_head_may_take() -> Result<()> {
    let times = "timeouts: { request_head: 1s, idle_connection: 4s }";
    let rig = Rig::with(times, "").await?;
    let ask = async |raw: &mut Raw| {
        raw.write(rig.head("GET /small") + "\r\n").await?;
        let answer = raw.response().await?.context("an answer")?;
        ensure!(answer.status == 200, "{}", answer.status);
        Ok(())
    };
    let mut idle = rig.raw().await?;
    let mut slow = rig.raw().await?;
    ask(&mut idle).await?;
    ask(&mut slow).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    ask(&mut idle).await?;
    // It ends by itself, though not before its time.
    let begin = Instant::now();
    idle.rest(PATIENCE).await?;
    ensure!(
        begin.elapsed() > Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );

    let mut slow_head = rig.raw().await?;
    ask(&mut slow_head).await?;
    slow_head.write("GET /sm").await?;
    let begin = Instant::now();
    slow_head.rest(PATIENCE).await?;
    ensure!(
        begin.elapsed() < Duration::from_secs(3),
        "a head may not take {:?}",
        begin.elapsed()
    );

    // Whoever has shown no good credential has no time to be idle in.
    let mut stranger = rig.raw().await?;
    stranger
        .write(format!(
            "GET /small HTTP/1.1\r\nHost: {}\r\n\r\n",
            rig.tunnel.api_addr()
        ))
        .await?;
    let answer = stranger.response().await?.context("an answer")?;
    assert_eq!(answer.status, 401);
    let begin = Instant::now();
    stranger.rest(PATIENCE).await?;
    ensure!(
        begin.elapsed() < Duration::from_secs(3),
        "a stranger may not be idle for {:?}",
        begin.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn an_upload_that_nobody_takes_ends() -> Result<()> {
    let rig = Rig::with("timeouts: { stalled_upload: 1s }", "").await?;
    for http in BOTH {
        let client = rig.client(http)?;
        let body = full(vec![7; 30_000_000]);
        // Its body is not read before the test says so.
        let request = client.request(Method::POST, "/slow").body(body)?;
        let answer = match within_time(PATIENCE, "an answer", client.send(request)).await? {
            Ok(answer) => answer,
            // HTTP/1.1 may close with the answer, while the client still writes.
            Err(_) if http == Http::One => continue,
            Err(error) => return Err(error),
        };
        assert_eq!(answer.status(), 504);
    }
    let line = |line: &Value| line["end"]["refused"] == "stalled_upload";
    let line = rig.tunnel.audited(line).await?;
    ensure!(
        line["message"]
            .to_string()
            .contains("timeouts.stalled_upload"),
        "{line}"
    );
    let token = rig.tunnel.job_token(&JOB).await?;
    let answer = rig
        .client_as(Http::Two, &rig.bearer_of(&token))?
        .get("/small")
        .await?;
    assert_eq!(answer.status(), 200);
    Ok(())
}
