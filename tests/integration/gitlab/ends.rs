//! What ends with a job, and what an outage of GitLab does not end.

use anyhow::{Context as _, Result, ensure};
use ci_tunnel_tests::client::{Client, empty};
use ci_tunnel_tests::deadline::within_time;
use ci_tunnel_tests::issuer::Mode;
use ci_tunnel_tests::issuer::jobs::{ALLOWED, JOB, Job};
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::json;
use std::time::Duration;

use super::{Setup, job};

const WATCH: &str = "/watch";

impl Setup {
    /// Begins a watch, and waits until it runs.
    async fn watch(&self, token: &str) -> Result<Watch> {
        let client = self.client(token)?;
        let before = self.api.recorder().count();
        let response = client
            .send(client.request(Method::GET, WATCH).body(empty())?)
            .await?;
        ensure!(response.status() == 200, "{}", response.status());
        ensure!(self.api.recorder().count() > before, "it did not arrive");
        Ok(Watch {
            body: response.into_body(),
            _client: client,
        })
    }

    /// Waits until GitLab was asked about this token again.
    async fn asked_again(&self, token: &str) -> Result<()> {
        let before = self.jobs.asked_about(token, ALLOWED);
        let asked = async {
            while self.jobs.asked_about(token, ALLOWED) == before {
                tokio::time::sleep(POLL).await;
            }
        };
        within_time(SOON, "another ask", asked).await
    }
}

/// A watch that runs.
struct Watch {
    body: Incoming,
    /// Its connection ends with it.
    _client: Client,
}

impl Watch {
    /// Reads until it ends, however it ends.
    async fn ends(mut self) -> Result<()> {
        let body = async { while let Some(Ok(_)) = self.body.frame().await {} };
        within_time(SOON, "the watch to be cut", body).await
    }
}

const POLL: Duration = Duration::from_millis(20);
const SOON: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_running_watch_ends_with_its_job_and_the_audit_says_so() -> Result<()> {
    let setup = Setup::start(json!({"recheck": "1s"})).await?;
    let token = setup.jobs.start(job(json!({})));
    let other = setup.jobs.start(Job {
        id: 5,
        ..job(json!({}))
    });
    let (watch, second) = (setup.watch(&token).await?, setup.watch(&token).await?);
    let untouched = setup.watch(&other).await?;
    setup.jobs.end(&token);
    watch.ends().await?;
    second.ends().await?;
    let cut = |line: &serde_json::Value| {
        line["job"]["job_id"] == "4711" && line["end"]["cut"] == "job_ended"
    };
    let line = setup.tunnel.audited(cut).await?;
    let why = line["message"].as_str().context("why")?;
    ensure!(why.contains("the job has ended"), "{line}");
    let cuts = "ci_tunnel_server_cuts_total{reason=\"job_ended\"}";
    ensure!(setup.tunnel.metric(cuts).await? >= 2.0, "counted");
    setup.refused(&token, 401, "its job has ended").await?;
    setup.asked_again(&other).await?;
    drop(untouched);
    setup.allowed(&other).await
}

#[tokio::test]
async fn a_running_watch_ends_when_gitlab_lists_its_agent_no_more() -> Result<()> {
    let setup = Setup::start(json!({"recheck": "1s"})).await?;
    let token = setup.jobs.start(job(json!({})));
    let watch = setup.watch(&token).await?;
    setup.jobs.replace(&token, Job::default());
    watch.ends().await?;
    setup.refused(&token, 403, "no rule").await
}

#[tokio::test]
async fn an_outage_cuts_nothing_and_is_no_401() -> Result<()> {
    let setup = Setup::start(json!({"cache": "1s", "recheck": "1s"})).await?;
    let token = setup.jobs.start(job(json!({})));
    let mut watch = setup.watch(&token).await?;
    for mode in [
        Mode::Status(500),
        Mode::Status(429),
        Mode::Status(404),
        Mode::Page(403),
        Mode::Garbage("{"),
    ] {
        setup.gitlab.set_mode(mode.clone());
        let fresh = setup.jobs.start(job(json!({})));
        let answer = setup.get(&fresh).await?;
        ensure!(answer.status() == 503, "{mode:?}: {}", answer.status());
        ensure!(answer.headers().contains_key("retry-after"), "{mode:?}");
        ensure!(
            !answer.headers().contains_key("www-authenticate"),
            "{mode:?}"
        );
    }
    // Long enough for the word on the running one to be too old.
    let old = async {
        while setup.get(&token).await?.status() != 503 {
            tokio::time::sleep(POLL).await;
        }
        Ok::<_, anyhow::Error>(())
    };
    within_time(SOON, "the cached word to be too old", old).await??;
    setup.gitlab.set_mode(Mode::Good);
    setup.allowed(&token).await?;
    let event =
        json!({"type": "ADDED", "object": {"kind": "Pod", "metadata": {"name": "still-here"}}});
    setup.api.push_event(&event).await?;
    let frame = within_time(SOON, "an event on the watch", watch.body.frame());
    ensure!(frame.await?.context("it was cut")?.is_ok(), "it was cut");
    Ok(())
}

#[tokio::test]
async fn the_last_good_word_outlives_an_outage_when_the_setting_says_so() -> Result<()> {
    let settings = json!({"cache": "0s", "stale": "5m", "recheck": "0s"});
    let mut setup = Setup::start(settings).await?;
    let token = setup.jobs.start(job(json!({})));
    setup.allowed(&token).await?;
    setup.gitlab.stop().await;
    setup.allowed(&token).await?;
    let fresh = setup.jobs.start(job(json!({})));
    setup.refused(&fresh, 503, "could not be asked").await
}

#[tokio::test]
async fn gitlab_is_asked_once_a_token_and_no_more_while_its_word_lasts() -> Result<()> {
    let setup = Setup::start(json!({})).await?;
    let token = setup.jobs.start(job(json!({})));
    let mut asks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let client = setup.client(&token)?;
        asks.spawn(async move { client.get("/small").await });
    }
    while let Some(answer) = asks.join_next().await {
        ensure!(answer??.status() == 200, "all are let in");
    }
    for path in [ALLOWED, JOB] {
        assert_eq!(setup.jobs.asked_about(&token, path), 1, "{path}");
    }
    // The job's end is heard of when the word is too old: a minute here.
    setup.jobs.end(&token);
    setup.allowed(&token).await?;
    assert_eq!(setup.jobs.asked(ALLOWED), 1);

    let wrong = "glcbt-64_nobody-has-this-token";
    for _ in 0..5 {
        setup.refused(wrong, 401, "does not accept").await?;
    }
    assert_eq!(setup.jobs.asked_about(wrong, ALLOWED), 1);
    Ok(())
}

#[tokio::test]
async fn check_says_whether_gitlab_answers() -> Result<()> {
    let mut setup = Setup::start(json!({})).await?;
    let report = setup.tunnel.cli(&["check"]).await?;
    let line = format!("job tokens, by {}/api/v4/job\n", setup.gitlab.url());
    ensure!(report.contains(&line), "{report}");
    setup.gitlab.stop().await;
    ensure!(setup.tunnel.cli(&["check"]).await.is_err());
    Ok(())
}
