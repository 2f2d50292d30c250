//! Remotes that are well.

use anyhow::Result;
use ci_tunnel_tests::deadline::within;
use ci_tunnel_tests::githost::GitHost;
use ci_tunnel_tests::tunnel::Tunnel;
use serde_json::{Value, json};

use super::site::{
    Form, OTHER, PROJECT, SECRET, configuration, get, host, https, push, ready, rig, ssh,
    wait_problem, wait_revision,
};
use crate::rig::{AGENT, CONFIG, JOB, Rig};

#[tokio::test]
async fn a_commit_grants_and_revokes_over_ssh() -> Result<()> {
    let (host, first) = host().await?;
    let rig = ready(&[ssh(&host)]).await?;
    let configuration = configuration(&rig.tunnel.status().await?, AGENT).clone();
    assert_eq!(configuration["commit"], first);
    assert_eq!(configuration["revision"], first[..12]);
    let file = configuration["file"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(
        file.ends_with("/acme/infra.git:.gitlab/agents/prod/config.yaml"),
        "{file}"
    );

    let repository = host.repository(PROJECT).await?;
    let second = repository.commit("main", &[("prod", OTHER)]).await?;
    assert_eq!(wait_revision(&rig, &first).await?, second);
    assert_eq!(get(&rig).await?, 403);
    // What does not touch the file is its newest commit all the same.
    let third = repository
        .commit("main", &[("prod", OTHER), ("test", OTHER)])
        .await?;
    assert_eq!(wait_revision(&rig, &second).await?, third);
    repository.commit("main", &[]).await?;
    let gone = |status: &Value| super::site::configuration(status, AGENT).is_null();
    rig.tunnel.wait_status("no configuration", gone).await?;
    Ok(())
}

#[tokio::test]
async fn a_host_that_gives_no_single_files_is_read_as_well() -> Result<()> {
    let (host, first) = host().await?;
    host.set_old();
    let rig = ready(&[ssh(&host)]).await?;
    let repository = host.repository(PROJECT).await?;
    let second = repository.commit("main", &[("prod", OTHER)]).await?;
    assert_eq!(wait_revision(&rig, &first).await?, second);
    assert_eq!(get(&rig).await?, 403);
    Ok(())
}

#[tokio::test]
async fn the_default_branch_is_followed_and_another_is_read_where_the_file_says_so() -> Result<()> {
    let (host, _) = host().await?;
    let repository = host.repository(PROJECT).await?;
    let trunk = repository.commit("trunk", &[("prod", OTHER)]).await?;
    let mut on_trunk = ssh(&host);
    on_trunk["git"]["branch"] = json!("trunk");
    let fixed = rig(&[on_trunk]).await?;
    assert_eq!(wait_revision(&fixed, "").await?, trunk);

    let rig = ready(&[ssh(&host)]).await?;
    let before = wait_revision(&rig, "").await?;
    repository.set_default_branch("trunk").await?;
    assert_eq!(wait_revision(&rig, &before).await?, trunk);
    assert_eq!(get(&rig).await?, 403);
    repository.set_default_branch("gone").await?;
    wait_problem(&rig, "no commit on its default branch").await?;
    assert_eq!(wait_revision(&rig, "").await?, trunk);
    Ok(())
}

/// More than a server reads of what git lists for one name.
#[tokio::test]
async fn branches_whose_names_end_alike_hold_up_no_change() -> Result<()> {
    let (host, first) = host().await?;
    let repository = host.repository(PROJECT).await?;
    let names = (0..1100).map(|at| format!("x{at}/HEAD"));
    repository.branches(&first, names).await?;
    let rig = ready(&[ssh(&host)]).await?;
    let second = repository.commit("main", &[("prod", OTHER)]).await?;
    assert_eq!(wait_revision(&rig, &first).await?, second);
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_far_too_large_leaves_the_last_good_one() -> Result<()> {
    let (host, first) = host().await?;
    let rig = ready(&[ssh(&host)]).await?;
    let repository = host.repository(PROJECT).await?;
    let large = format!("{OTHER}{}", " ".repeat(8 * 1024 * 1024));
    repository.commit("main", &[("prod", &large)]).await?;
    wait_problem(&rig, "131072").await?;
    assert_eq!(wait_revision(&rig, "").await?, first);
    assert_eq!(get(&rig).await?, 200);
    let third = repository.commit("main", &[("prod", OTHER)]).await?;
    assert_eq!(wait_revision(&rig, &first).await?, third);
    Ok(())
}

#[tokio::test]
async fn one_template_serves_many_projects_and_the_first_listed_wins() -> Result<()> {
    let host = GitHost::start().await?;
    let agents: Vec<String> = (0..20)
        .map(|number| format!("Group-{number}/deep/infra:prod"))
        .collect();
    for agent in &agents {
        let (project, name) = agent.split_once(':').unwrap_or_default();
        host.repository(project)
            .await?
            .commit("main", &[(name, CONFIG)])
            .await?;
    }
    let directory = tempfile::tempdir()?;
    let file = directory
        .path()
        .join("group-1/deep/infra/.gitlab/agents/prod");
    std::fs::create_dir_all(&file)?;
    std::fs::write(file.join("config.yaml"), OTHER)?;
    let mut some = https(&host);
    some["git"]["projects"] = json!(["group-0", "group-1", "group-2/deep"]);
    some["provider"] = json!("local");
    let repositories =
        json!({"config_repositories": [{"directory": directory.path()}, some, https(&host)]});
    let tunnel = Tunnel::builder()
        .server_yaml(&repositories.to_string())
        .start()
        .await?;
    for agent in &agents {
        tunnel.cli(&["agent", "create", agent]).await?;
    }
    let all = |status: &Value| {
        agents.iter().all(|agent| {
            configuration(status, agent)["revision"]
                .as_str()
                .is_some_and(|revision| !revision.is_empty())
        })
    };
    tunnel.wait_status("all to be read", all).await?;
    let status = tunnel.status().await?;
    let of = |number: usize| configuration(&status, &agents[number]);
    assert_eq!(
        (&of(0)["provider"], &of(5)["provider"]),
        (&json!("local"), &Value::Null)
    );
    assert!(
        of(1)["commit"].is_null() && of(1)["file"].as_str().unwrap_or_default().starts_with('/')
    );
    Ok(())
}

#[tokio::test]
async fn a_project_without_a_file_is_open_to_its_own_jobs() -> Result<()> {
    let host = GitHost::start().await?;
    host.repository(PROJECT).await?.commit("main", &[]).await?;
    let rig = rig(&[https(&host)]).await?;
    wait_looks(&rig, &host, "read").await?;
    assert!(configuration(&rig.tunnel.status().await?, AGENT).is_null());
    let own = rig.tunnel.job_token(&["--project", PROJECT]).await?;
    let client = rig.client_as(ci_tunnel_tests::client::Http::Two, &rig.bearer_of(&own))?;
    assert_eq!(client.get("/small").await?.status(), 200);
    assert_eq!(get(&rig).await?, 403);

    // An unchanged project costs one look.
    let asked = host.asked(PROJECT);
    assert_eq!(
        push(&rig, Form::Token, SECRET, PROJECT, "main")
            .await?
            .status(),
        202
    );
    wait_looks(&rig, &host, "unchanged").await?;
    // What it speaks, its refs, and the branch's commit.
    let asked = host.asked(PROJECT) - asked;
    assert!(asked <= 3, "{asked}");
    Ok(())
}

/// Waits until a look at a repository has ended so.
async fn wait_looks(rig: &Rig, host: &GitHost, outcome: &str) -> Result<()> {
    let series = format!(
        "ci_tunnel_server_configuration_fetches_total{{repository=\"{}\",outcome=\"{outcome}\"}}",
        host.https_url()
    );
    let counted = async {
        while rig.tunnel.metric(&series).await? == 0.0 {
            tokio::task::yield_now().await;
        }
        anyhow::Ok(())
    };
    within(&format!("a look that is {outcome}"), counted).await?
}

#[tokio::test]
async fn check_says_of_each_repository_whether_it_can_be_read() -> Result<()> {
    let (host, commit) = host().await?;
    let rig = ready(&[https(&host)]).await?;
    let url = host.https_url().replace("{project}", PROJECT);
    let said = rig.tunnel.cli(&["check"]).await?;
    assert!(
        said.contains(&format!("ok      {url}: can be read")),
        "{said}"
    );
    assert!(
        said.contains(&format!("revision {}", &commit[..12])),
        "{said}"
    );
    let explained = rig
        .tunnel
        .cli(&[&["explain", AGENT], &JOB[..]].concat())
        .await?;
    assert!(explained.starts_with("allowed"), "{explained}");

    host.set_down(true);
    let said = rig.tunnel.cli(&["check"]).await.unwrap_err().to_string();
    assert!(!said.contains(GitHost::PASSWORD), "{said}");
    Ok(())
}
