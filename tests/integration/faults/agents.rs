//! Agents that are killed, frozen, replaced.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ci_tunnel_tests::client::{Http, full};
use ci_tunnel_tests::deadline::within_time;
use serde_json::Value;

use super::watching::Watching;
use crate::rig::{AGENT, Rig};

/// So that tests need not wait for the usual 15 seconds.
const SHORT: &str = "quic: { idle_timeout: 3s, keep_alive: 1s }";
const IDLE: Duration = Duration::from_secs(3);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(2);

#[tokio::test]
async fn killed() -> Result<()> {
    let rig = Rig::with(SHORT, SHORT).await?;
    let watching = Watching::begin(&rig, &rig.job).await?;
    let (get, post) = (rig.client(Http::Two)?, rig.client(Http::One)?);
    let running = async {
        let (get, post) = tokio::join!(get.get("/slow"), post.post("/slow", full("x")));
        anyhow::Ok((get?, post?))
    };
    let kill = async {
        for method in ["GET", "POST"] {
            let arrived = |seen: &ci_tunnel_tests::apiserver::Received| {
                seen.target == "/slow" && seen.method.as_str() == method
            };
            rig.api.recorder().wait_for(method, arrived).await?;
        }
        rig.tunnel.agent(0).kill();
        anyhow::Ok(Instant::now())
    };
    let (answers, killed) = tokio::join!(running, kill);
    let (begin, (get, post)) = (killed?, answers?);
    let answered = begin.elapsed();
    // What is safe to repeat says so; the other one does not.
    assert_eq!(
        (
            get.status().as_u16(),
            get.headers().contains_key("retry-after")
        ),
        (503, true)
    );
    assert_eq!(
        (
            post.status().as_u16(),
            post.headers().contains_key("retry-after")
        ),
        (502, false)
    );
    let cut = watching.until_cut(begin).await?;
    println!(
        "agent killed: requests answered after {answered:?}, watch cut after {cut:?} (idle limit {IDLE:?})"
    );
    ensure!(answered < IDLE + SLACK, "answered after {answered:?}");

    let begin = Instant::now();
    let client = rig.client(Http::Two)?;
    let (started, response) = tokio::join!(rig.tunnel.agent(0).start(), client.get("/small"));
    started?;
    println!(
        "agent started again: a request that waited was answered after {:?}",
        begin.elapsed()
    );
    assert_eq!(response?.status(), 200);
    Ok(())
}

#[tokio::test]
async fn frozen() -> Result<()> {
    let server = format!("{SHORT}\ntimeouts: {{ hold: 1s }}");
    let rig = Rig::with(&server, SHORT).await?;
    assert_eq!(rig.client(Http::Two)?.get("/small").await?.status(), 200);
    rig.tunnel.agent(0).stop()?;
    let begin = Instant::now();
    let response = rig.client(Http::Two)?.get("/small").await?;
    let answered = begin.elapsed();
    assert_eq!(response.status(), 503);
    let response = rig.client(Http::Two)?.get("/small").await?;
    let status: Value = serde_json::from_slice(response.body())?;
    assert_eq!(response.status(), 503, "{status}");
    println!(
        "agent frozen: answered after {answered:?} (idle limit {IDLE:?}), then {:?}: {}",
        begin.elapsed() - answered,
        status["message"]
    );
    ensure!(answered < IDLE + SLACK, "answered after {answered:?}");
    rig.tunnel.agent(0).cont()?;
    let begin = Instant::now();
    works_again(&rig).await?;
    println!("agent thawed: works again after {:?}", begin.elapsed());
    Ok(())
}

/// With the limits that people run with: nobody waits for a dead session while there is a living one.
#[tokio::test]
async fn killed_and_started_again_at_once() -> Result<()> {
    let rig = Rig::start().await?;
    let watching = Watching::begin(&rig, &rig.job).await?;
    let kubeconfig = rig.kubeconfig().await?;
    let kubectl = rig.tunnel.kubectl(&kubeconfig)?;
    kubectl.run(GET_PODS).await?;
    let begin = Instant::now();
    rig.tunnel.agent(0).restart().await?;
    // As people do it in jobs: again until it works.
    let mut attempts = 1;
    let works = async {
        while !kubectl.output(GET_PODS).await?.status.success() {
            attempts += 1;
        }
        anyhow::Ok(())
    };
    within_time(Duration::from_secs(20), "kubectl to work", works).await??;
    println!(
        "agent killed and started: kubectl works after {:?}, attempt {attempts}",
        begin.elapsed()
    );
    ensure!(
        begin.elapsed() < Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );
    for _ in 0..20 {
        let begin = Instant::now();
        assert_eq!(rig.client(Http::Two)?.get("/small").await?.status(), 200);
        ensure!(
            begin.elapsed() < Duration::from_secs(1),
            "{:?}",
            begin.elapsed()
        );
    }
    println!(
        "... and its watch was cut after {:?}",
        watching.until_cut(begin).await?
    );
    Ok(())
}

const GET_PODS: [&str; 4] = ["get", "pods", "-A", "--request-timeout=1s"];

#[tokio::test]
async fn restarted_during_a_watch() -> Result<()> {
    let rig = Rig::with("", "drain_timeout: 1s").await?;
    let mut watching = Watching::begin(&rig, &rig.job).await?;
    let begin = Instant::now();
    rig.tunnel.agent(0).term()?;
    rig.tunnel
        .agent(0)
        .wait_for_line("the drain", |line| line.contains("draining"))
        .await?;
    watching.gets_an_event(&rig).await?;
    let (status, cut) = tokio::join!(
        rig.tunnel.agent(0).wait(Duration::from_secs(10)),
        watching.until_cut(begin)
    );
    println!(
        "agent told to end: ended with {}, watch cut after {:?}",
        status?, cut?
    );
    let client = rig.client(Http::Two)?;
    let begin = Instant::now();
    let (started, response) = tokio::join!(rig.tunnel.agent(0).start(), client.get("/small"));
    started?;
    assert_eq!(response?.status(), 200);
    println!(
        "... and started: a request that waited was answered after {:?}",
        begin.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn one_of_two_frozen() -> Result<()> {
    let rig = Rig::with(SHORT, SHORT).await?;
    rig.tunnel.start_agent(AGENT).await?;
    rig.tunnel.wait_sessions(AGENT, 2).await?;
    rig.tunnel.agent(0).stop()?;
    let begin = Instant::now();
    let mut slow = 0;
    // For longer than the idle limit: to the frozen one go requests only as long as nobody can know.
    while begin.elapsed() < IDLE + SLACK {
        let asked = Instant::now();
        let response = rig.client(Http::Two)?.get("/small").await?;
        ensure!(asked.elapsed() < IDLE + SLACK, "{:?}", asked.elapsed());
        if response.status() != 200 {
            assert_eq!(
                (
                    response.status().as_u16(),
                    response.headers().contains_key("retry-after")
                ),
                (503, true)
            );
            slow += 1;
        }
    }
    rig.tunnel.wait_sessions(AGENT, 1).await?;
    for _ in 0..20 {
        assert_eq!(rig.client(Http::Two)?.get("/small").await?.status(), 200);
    }
    println!("one of two agents frozen: {slow} requests went to it");
    rig.tunnel.agent(0).cont()?;
    let begin = Instant::now();
    rig.tunnel.wait_sessions(AGENT, 2).await?;
    println!("... thawed: both serve after {:?}", begin.elapsed());
    Ok(())
}

async fn works_again(rig: &Rig) -> Result<()> {
    let client = rig.client(Http::Two)?;
    let works = async {
        while client.get("/small").await?.status() != 200 {}
        anyhow::Ok(())
    };
    within_time(Duration::from_secs(30), "a request to work", works)
        .await?
        .context("asking")
}
