//! Remotes that are ill, and files that can not be used.

use std::time::Instant;

use anyhow::{Result, ensure};
use ci_tunnel_tests::client::Http;
use ci_tunnel_tests::githost::GitHost;
use serde_json::{Value, json};

use super::site::{
    Form, OTHER, PROJECT, SECRET, SOON, configuration, get, host, https, push, ready, rig, ssh,
    wait_problem, wait_revision,
};
use crate::rig::{AGENT, CONFIG, Rig};

const BAD: &str = "ci_acess: { nonsense: 1 }";

#[tokio::test]
async fn a_remote_that_is_down_at_the_start_leaves_the_known_rules_in_force() -> Result<()> {
    let (host, commit) = host().await?;
    let rig = ready(&[https(&host)]).await?;
    host.set_down(true);
    rig.tunnel.restart_server().await?;
    rig.tunnel.wait_connected(AGENT).await?;
    assert_eq!(get(&rig).await?, 200);
    wait_problem(&rig, "git ls-remote").await?;
    assert_eq!(wait_revision(&rig, "").await?, commit);

    let next = host
        .repository(PROJECT)
        .await?
        .commit("main", &[("prod", OTHER)])
        .await?;
    host.set_down(false);
    push(&rig, Form::Token, SECRET, PROJECT, "main").await?;
    assert_eq!(wait_revision(&rig, &commit).await?, next);
    let well = |status: &Value| configuration(status, AGENT)["problem"].is_null();
    rig.tunnel.wait_status("no problem", well).await?;
    Ok(())
}

#[tokio::test]
async fn a_bad_file_leaves_the_last_good_one_in_force_after_a_restart_too() -> Result<()> {
    let (host, good) = host().await?;
    let rig = ready(&[https(&host)]).await?;
    let repository = host.repository(PROJECT).await?;
    let large = format!("# {}\n{OTHER}", "x".repeat(128 * 1024));
    for (entry, says) in [
        (
            ("100644", ".gitlab/agents/prod/config.yaml", BAD),
            "ci_acess",
        ),
        (
            ("100644", ".gitlab/agents/prod/config.yaml", &large),
            "131072 at most",
        ),
        (
            (
                "120000",
                ".gitlab/agents/prod/config.yaml",
                "../../../secret.yaml",
            ),
            "is a link",
        ),
        (
            ("120000", ".gitlab/agents/prod", "../../elsewhere"),
            "is a link",
        ),
        (("120000", ".gitlab", "elsewhere"), "is a link"),
    ] {
        repository.commit_entries("main", &[entry]).await?;
        push(&rig, Form::Hub, SECRET, PROJECT, "main").await?;
        wait_problem(&rig, says).await?;
        assert_eq!(get(&rig).await?, 200);
        assert_eq!(wait_revision(&rig, "").await?, good);
    }
    repository.commit("main", &[("prod", BAD)]).await?;
    push(&rig, Form::Hub, SECRET, PROJECT, "main").await?;
    wait_problem(&rig, "ci_acess").await?;
    rig.tunnel.restart_server().await?;
    rig.tunnel.wait_connected(AGENT).await?;
    assert_eq!(get(&rig).await?, 200);
    wait_problem(&rig, "ci_acess").await?;
    assert_eq!(wait_revision(&rig, "").await?, good);
    let next = repository.commit("main", &[("prod", OTHER)]).await?;
    push(&rig, Form::Hub, SECRET, PROJECT, "main").await?;
    assert_eq!(wait_revision(&rig, &good).await?, next);
    assert_eq!(get(&rig).await?, 403);
    Ok(())
}

#[tokio::test]
async fn a_repository_that_was_never_read_lets_nobody_in() -> Result<()> {
    let (host, _) = host().await?;
    let with = |mut repository: Value, key: &str, value: Value| {
        repository["git"][key] = value;
        repository
    };
    for (repository, says) in [
        (
            with(https(&host), "password", json!("wr0ng")),
            "refuses those given",
        ),
        (
            with(https(&host), "ca_file", json!(host.file("known_hosts"))),
            "ertificate",
        ),
        (
            with(
                https(&host),
                "url",
                json!(host.https_url().replace(".git", "-none.git")),
            ),
            "no such repository",
        ),
        (
            with(
                ssh(&host),
                "known_hosts_file",
                json!(host.file("wrong_known_hosts")),
            ),
            "known_hosts_file",
        ),
        (
            with(ssh(&host), "ssh_key_file", json!(host.file("other_key"))),
            "ssh_key_file",
        ),
    ] {
        let rig = rig(&[repository]).await?;
        wait_problem(&rig, says).await?;
        nobody(&rig).await?;
        let log = std::fs::read_to_string(rig.tunnel.server().log())?;
        assert!(!log.contains("wr0ng") && !log.contains(GitHost::PASSWORD));
        let failing = rig
            .tunnel
            .metric("ci_tunnel_server_configuration_failing_projects")
            .await?;
        ensure!(failing == 1.0, "{failing}");
    }
    Ok(())
}

/// Neither the job, nor one of the configuration project itself.
async fn nobody(rig: &Rig) -> Result<()> {
    assert_eq!(get(rig).await?, 403);
    let own = rig.tunnel.job_token(&["--project", PROJECT]).await?;
    let client = rig.client_as(Http::Two, &rig.bearer_of(&own))?;
    assert_eq!(client.get("/small").await?.status(), 403);
    Ok(())
}

#[tokio::test]
async fn a_remote_that_hangs_holds_up_nobody_else() -> Result<()> {
    let (host, first) = host().await?;
    let rig = ready(&[https(&host)]).await?;
    // More than are looked at at a time.
    for number in 0..10 {
        let project = format!("hung/{number}");
        host.hang(&project);
        rig.another_agent(&format!("{project}:prod")).await?;
    }
    ci_tunnel_tests::deadline::within("the host to be asked", async {
        while (0..10)
            .filter(|number| host.asked(&format!("hung/{number}")) > 0)
            .count()
            < 8
        {
            tokio::task::yield_now().await;
        }
    })
    .await?;
    let next = host
        .repository(PROJECT)
        .await?
        .commit("main", &[("prod", CONFIG), ("test", CONFIG)])
        .await?;
    let begin = Instant::now();
    push(&rig, Form::Token, SECRET, PROJECT, "main").await?;
    assert_eq!(wait_revision(&rig, &first).await?, next);
    ensure!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    assert_eq!(get(&rig).await?, 200);
    Ok(())
}
