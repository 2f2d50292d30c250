//! What is thrown at GitLab through the server, and what GitLab might say that is not so.

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ci_tunnel_tests::issuer::jobs::{ALLOWED, JOB, Job};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Setup, job};

#[tokio::test]
async fn ten_thousand_wrong_tokens_reach_gitlab_as_often_as_is_set() -> Result<()> {
    let setup = Setup::start(json!({"asks_per_second": 5})).await?;
    let good = setup.jobs.start(job(json!({})));
    setup.allowed(&good).await?;
    let began = std::time::Instant::now();
    let mut senders = JoinSet::new();
    for sender in 0..8 {
        let addr = (setup.tunnel.api_addr(), setup.tunnel.ca_pem().to_owned());
        senders.spawn(async move { garbage(addr, sender).await });
    }
    let mut codes = std::collections::BTreeMap::<u16, usize>::new();
    while let Some(seen) = senders.join_next().await {
        for code in seen?? {
            *codes.entry(code).or_default() += 1;
        }
    }
    let seconds = began.elapsed().as_secs() as usize + 1;
    let asked = setup.jobs.asked(ALLOWED) - 1;
    println!("{codes:?}, {asked} asks in {seconds} s");
    ensure!(
        codes.keys().all(|code| [401, 429, 503].contains(code)),
        "{codes:?}"
    );
    ensure!(codes.values().sum::<usize>() == 10_000, "{codes:?}");
    ensure!(asked <= 10 + 5 * seconds, "{asked} asks in {seconds} s");
    let refused = "ci_tunnel_server_job_token_asks_total{reason=\"refused\"}";
    ensure!(
        setup.tunnel.metric(refused).await? as usize == asked,
        "counted"
    );
    // The good one is renewed beside them.
    setup.allowed(&good).await
}

async fn garbage((addr, ca): (std::net::SocketAddr, String), sender: usize) -> Result<Vec<u16>> {
    let client =
        ci_tunnel_tests::client::Client::new(addr, &ca, ci_tunnel_tests::client::Http::One, "")?;
    let mut connection = client.connect().await?;
    let mut codes = Vec::new();
    for number in 0..1250 {
        let token = format!("glcbt-64_garbage-{sender}-{number:08}");
        let request = http::Request::get("/small")
            .header("host", addr.to_string())
            .header("authorization", format!("Bearer ci:4242:{token}"));
        let body = ci_tunnel_tests::client::empty();
        let answer = connection.whole(request.body(body)?).await?;
        codes.push(answer.status().as_u16());
    }
    Ok(codes)
}

#[tokio::test]
async fn nothing_but_a_job_token_of_this_gitlab_is_shown_to_it() -> Result<()> {
    let setup = Setup::start(json!({})).await?;
    let jwt = |claims: Value| {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({"alg": "RS256", "typ": "JWT"});
        format!("{}.{}.c2lnbmF0dXJl", part(&header), part(&claims))
    };
    let elsewhere = jwt(json!({"iss": "gitlab.example.com", "exp": 4_000_000_000_u64}));
    let past = jwt(json!({"iss": "127.0.0.1", "exp": 1_000_000_000_u64}));
    let local = setup.tunnel.job_token(&["--project", "acme/team/shop"]);
    setup.allowed(&local.await?).await.ok();
    for token in [
        setup.gitlab.token().sign(),
        format!("glcbt-{elsewhere}"),
        format!("glcbt-{past}"),
        "glpat-aBcDeFgHiJkLmNoPqRsT".to_owned(),
        "64_aBcDeFgHiJkLmNoPqRsT".to_owned(),
        "glcbt-short".to_owned(),
        format!("glcbt-{}", "a".repeat(5000)),
        "glcbt-with/other+characters==".to_owned(),
        "glcbt-aBcDeFgHiJ.kLmNoPqRsT.uVwXyZ".to_owned(),
    ] {
        let (code, body) = setup.answer(&token).await?;
        ensure!(code == 401, "{token}: {code} {body}");
    }
    assert_eq!(setup.jobs.asked(ALLOWED) + setup.jobs.asked(JOB), 0);
    Ok(())
}

#[tokio::test]
async fn answers_that_contradict_each_other_let_nobody_in() -> Result<()> {
    let setup = Setup::start(json!({"authorize": "config"})).await?;
    let url = setup.gitlab.url().to_owned();
    let cases = [
        // The job of another address, or none.
        (
            "web_url",
            json!("https://evil.example.com/acme/team/shop/-/jobs/4711"),
        ),
        (
            "web_url",
            json!(format!("{url}.evil.example.com/acme/team/shop/-/jobs/4711")),
        ),
        (
            "web_url",
            json!(format!("{url}/acme/team/shop/-/jobs/4712")),
        ),
        (
            "web_url",
            json!(format!("{url}/acme/team/shop/-/jobs/4711/artifacts")),
        ),
        ("web_url", json!(format!("{url}/shop/-/jobs/4711"))),
        (
            "web_url",
            json!(format!("{url}/acme/../admin/shop/-/jobs/4711")),
        ),
        (
            "web_url",
            json!(format!("{url}/acme/te%61m/shop/-/jobs/4711")),
        ),
        ("web_url", json!(null)),
        // Another job than the first answer's.
        ("id", json!(4712)),
        ("pipeline", json!({"id": 1, "project_id": 7})),
        ("pipeline", json!({"id": 88, "project_id": 8})),
        ("pipeline", json!(null)),
    ];
    for (number, (member, value)) in cases.into_iter().enumerate() {
        let token = setup.jobs.start(job(json!({})));
        setup.jobs.distort(&token, member, value.clone());
        let told = setup.refused(&token, 503, "could not be asked").await;
        ensure!(told.is_ok(), "{number}: {member} {value}: {told:?}");
    }
    let token = setup.jobs.start(Job {
        groups: vec![31, 3, 1],
        ..job(json!({}))
    });
    setup.refused(&token, 503, "could not be asked").await?;
    // Only the operator is told why, and of the server's network.
    let (_, body) = setup.answer(&token).await?;
    ensure!(!body.contains("groups") && !body.contains(&url), "{body}");
    let why = |line: &Value| {
        let message = line["message"].as_str();
        message.is_some_and(|message| message.contains("groups"))
    };
    setup.tunnel.audited(why).await?;
    Ok(())
}

#[tokio::test]
async fn no_log_and_no_audit_line_holds_a_job_token() -> Result<()> {
    let setup = Setup::start(json!({"recheck": "1s"})).await?;
    let token = setup.jobs.start(job(json!({})));
    setup.allowed(&token).await?;
    setup.tunnel.kubeconfig(&token, "").await?;
    setup
        .gitlab
        .set_mode(ci_tunnel_tests::issuer::Mode::Status(500));
    let second = setup.jobs.start(job(json!({})));
    setup.refused(&second, 503, "could not be asked").await?;
    let wrong = "glcbt-64_stand-in-secret-wrong";
    setup.gitlab.set_mode(ci_tunnel_tests::issuer::Mode::Good);
    setup.refused(wrong, 401, "does not accept").await?;
    setup.audited(4711).await?;
    let mut written = std::fs::read_to_string(setup.tunnel.state_dir().join("audit.log"))?;
    for line in setup.tunnel.server().lines() {
        written.push_str(&line);
    }
    ensure!(!written.contains("stand-in-secret"), "a secret was written");
    Ok(())
}
