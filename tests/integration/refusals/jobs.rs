//! What is refused for what a job sends, or for who it is.

use anyhow::{Context as _, Result, ensure};
use ci_tunnel_tests::client::{Http, empty};
use ci_tunnel_tests::deadline::within;
use http::Method;
use http::header::HeaderValue;

use super::{Refused, refused, with_header};
use crate::rig::{BOTH, CONFIG, JOB, Rig};

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
    for job in [&expired, &revoked] {
        until_refused(&rig, job).await?;
    }

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
        .says(&[
            "this job",
            "1 requests at a time",
            "limits.job.concurrent",
            "try again",
        ])?;
    let after = refusal.retry_after.unwrap_or_default();
    ensure!((1..=5).contains(&after), "Retry-After: {after}");
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
            refusal
                .says(&["project", "limits.project.requests_per_second", "try again"])?
                .retry(true)?;
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

/// A token may be good for a moment still; the first refusal of it ends this. An answer that runs when the token is
/// revoked is cut, and the client sees a broken stream.
async fn until_refused(rig: &Rig, job: &str) -> Result<()> {
    let client = rig.client_as(Http::Two, &rig.bearer_of(job))?;
    let refused = async {
        loop {
            match client.get("/small").await {
                Ok(answer) if answer.status() == 401 => return,
                Ok(_) | Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    within("the token's end", refused).await
}
