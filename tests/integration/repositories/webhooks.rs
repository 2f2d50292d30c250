//! Webhooks of GitLab and GitHub.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use ci_tunnel_tests::client::Raw;
use ci_tunnel_tests::githost::GitHost;
use tokio::task::JoinSet;

use super::site::{
    Form, OTHER, PROJECT, SECRET, SIGNING_TOKEN, SOON, get, host, https, post, push, ready,
    wait_revision,
};
use crate::faults::Watching;
use crate::rig::{CONFIG, Rig};

#[tokio::test]
async fn a_permit_that_is_taken_away_ends_within_seconds() -> Result<()> {
    let (host, _) = host().await?;
    let rig = ready(&[https(&host)]).await?;
    let repository = host.repository(PROJECT).await?;
    for (form, secret) in [
        (Form::Token, SECRET),
        (Form::Signed, SIGNING_TOKEN),
        (Form::Hub, SECRET),
    ] {
        let watching = Watching::begin(&rig, &rig.job).await?;
        repository.commit("main", &[("prod", OTHER)]).await?;
        let begin = Instant::now();
        assert_eq!(
            push(&rig, form, secret, PROJECT, "main").await?.status(),
            202
        );
        let answered = begin.elapsed();
        let cut = watching.until_cut(begin).await?;
        println!("{form:?}: answered after {answered:?}, watch cut after {cut:?}");
        ensure!(cut < SOON, "{form:?}: {cut:?}");
        assert_eq!(get(&rig).await?, 403);
        grant(&host, &rig).await?;
    }
    Ok(())
}

async fn grant(host: &GitHost, rig: &Rig) -> Result<()> {
    let before = wait_revision(rig, "").await?;
    host.repository(PROJECT)
        .await?
        .commit("main", &[("prod", CONFIG)])
        .await?;
    push(rig, Form::Token, SECRET, PROJECT, "main").await?;
    wait_revision(rig, &before).await?;
    ensure!(get(rig).await? == 200, "the permit is not given again");
    Ok(())
}

#[tokio::test]
async fn who_does_not_know_the_secret_learns_nothing() -> Result<()> {
    let (host, _) = host().await?;
    let rig = ready(&[https(&host)]).await?;
    let in_vain = looks_in_vain(&rig).await?;
    for form in [Form::Token, Form::Signed, Form::Hub] {
        let response = push(&rig, form, "whsec_AAAA", PROJECT, "main").await?;
        assert_eq!(response.status(), 401);
        let body = String::from_utf8_lossy(response.body()).into_owned();
        assert!(
            body.contains("not signed") && !body.contains(SECRET) && !body.contains(PROJECT),
            "{body}"
        );
    }
    assert_eq!(post(&rig, &[], "{}").await?.status(), 401);
    // Signed, and about nothing that is read here: the same answer as for what is.
    for (project, branch) in [
        ("acme/unknown", "main"),
        ("../etc", "main"),
        (PROJECT, "feature"),
    ] {
        let known = push(&rig, Form::Hub, SECRET, project, branch).await?;
        assert_eq!(
            (known.status().as_u16(), &known.body()[..]),
            (202, &b"{\"accepted\":true}\n"[..])
        );
    }
    // Whatever one of them had asked for would have been asked before this.
    let before = wait_revision(&rig, "").await?;
    let repository = host.repository(PROJECT).await?;
    repository.commit("main", &[("prod", OTHER)]).await?;
    push(&rig, Form::Hub, SECRET, PROJECT, "main").await?;
    wait_revision(&rig, &before).await?;
    assert_eq!(looks_in_vain(&rig).await?, in_vain);
    let audited = rig
        .tunnel
        .audited(|line| line["path"] == "/-/webhook/config" && line["status"] == 401)
        .await?;
    assert_eq!(audited["end"]["refused"], "webhook");
    let log = std::fs::read_to_string(rig.tunnel.server().log())?;
    assert!(!log.contains(SECRET) && !log.contains(GitHost::PASSWORD));
    Ok(())
}

/// How often a project was looked at and nothing was new.
async fn looks_in_vain(rig: &Rig) -> Result<u64> {
    let metrics = rig.tunnel.metrics().await?;
    let is = |line: &&str| {
        line.contains("configuration_fetches_total{") && line.contains("outcome=\"unchanged\"")
    };
    let counts = metrics.lines().filter(is);
    let counts = counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    Ok(counts.sum())
}

#[tokio::test]
async fn strangers_who_send_no_body_keep_nobody_out() -> Result<()> {
    let (host, _) = host().await?;
    let rig = ready(&[https(&host)]).await?;
    let head = |header: &str| {
        format!(
            "POST /-/webhook/config HTTP/1.1\r\nHost: {}\r\n{header}\r\nContent-Length: 9\r\n\r\n",
            rig.tunnel.api_addr()
        )
    };
    // Refused before the body is there.
    let mut guess = rig.raw().await?;
    guess.write(head("X-Gitlab-Token: guess")).await?;
    assert_eq!(answered(&mut guess).await?, 401);
    let hub = format!("X-Hub-Signature-256: sha256={}", "0".repeat(64));
    let mut senders = JoinSet::new();
    for _ in 0..20 {
        let mut raw = rig.raw().await?;
        raw.write(head(&hub)).await?;
        senders.spawn(async move { answered(&mut raw).await });
    }
    for _ in 0..18 {
        let ended = senders.join_next().await.context("all are refused")?;
        assert_eq!(ended??, 429);
    }
    let good = push(&rig, Form::Token, SECRET, PROJECT, "main").await?;
    assert_eq!(good.status(), 202);
    Ok(())
}

async fn answered(raw: &mut Raw) -> Result<u16> {
    Ok(raw.response().await?.context("an answer")?.status)
}

#[tokio::test]
async fn bodies_are_bounded_and_must_be_json() -> Result<()> {
    let (host, _) = host().await?;
    let rig = ready(&[https(&host)]).await?;
    let token = [("x-gitlab-token", SECRET.to_owned())];
    assert_eq!(post(&rig, &token, "payload=%7B%7D").await?.status(), 400);
    assert_eq!(
        post(&rig, &token, &" ".repeat(4 * 1024 * 1024 + 1))
            .await?
            .status(),
        413
    );
    let many = format!("{{\"x\":\"{}\"}}", "x".repeat(3 * 1024 * 1024));
    assert_eq!(post(&rig, &token, &many).await?.status(), 202);
    Ok(())
}
