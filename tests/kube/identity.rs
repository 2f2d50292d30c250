//! Whom a job is in the cluster, as the API server itself sees it.

mod contexts;
mod providers;
mod rights;

use anyhow::Result;
use serde_json::json;

use crate::installed::{ACCOUNT, Installed, refusal, whoami};

const SHOP: &[&str] = &[
    "--project=acme/team/shop",
    "--project-id=7",
    "--group-id=acme/team=3",
    "--group-id=acme=2",
    "--job-id=4711",
    "--pipeline-id=99",
    "--ref=feature/x",
    "--ref-type=branch",
    "--ref-protected=false",
    "--user=ann",
    "--user-id=5",
];
const PRODUCTION: &[&str] = &[
    "--environment=production/eu",
    "--environment-slug=production-eu-x1",
    "--environment-tier=production",
];

fn shop(more: &[&'static str]) -> Vec<&'static str> {
    [SHOP, more].concat()
}

#[tokio::test]
async fn agent_is_the_service_account_itself() -> Result<()> {
    let Some(installed) = Installed::get("access_as: agent").await else {
        return Ok(());
    };
    let job = installed.job(&["--project=acme/plain"]).await?;
    let who = whoami(&job).await?;
    assert_eq!(who["username"], ACCOUNT, "{who}");
    assert!(who["uid"].is_string(), "{who}");
    // The configuration project itself, which no entry names.
    let own = installed.job(&["--project=acme/infra"]).await?;
    assert_eq!(whoami(&own).await?["username"], ACCOUNT);
    // Which may do nothing by itself.
    let text = refusal(&job, &["get", "secrets", "-A"]).await?;
    assert!(
        text.contains(&format!(
            "User \"{ACCOUNT}\" cannot list resource \"secrets\""
        )),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn ci_job_has_gitlabs_names() -> Result<()> {
    let Some(installed) = Installed::get("access_as: ci_job").await else {
        return Ok(());
    };
    let job = installed.job(&shop(PRODUCTION)).await?;
    let expected = json!({
        "username": "gitlab:ci_job:4711",
        "groups": [
            "gitlab:ci_job",
            "gitlab:group:3",
            "gitlab:group_env_tier:3:production",
            "gitlab:group:2",
            "gitlab:group_env_tier:2:production",
            "gitlab:project:7",
            "gitlab:project_env:7:production-eu-x1",
            "gitlab:project_env_tier:7:production",
            "system:authenticated",
        ],
        "extra": {
            "agent.gitlab.com/id": ["1"],
            "agent.gitlab.com/project_id": ["7"],
            "agent.gitlab.com/ci_pipeline_id": ["99"],
            "agent.gitlab.com/ci_job_id": ["4711"],
            "agent.gitlab.com/username": ["ann"],
            "agent.gitlab.com/environment_slug": ["production-eu-x1"],
            "agent.gitlab.com/environment_tier": ["production"],
            "agent.ci-tunnel.dev/provider": ["local"],
            "agent.ci-tunnel.dev/ref": ["feature/x"],
            "agent.ci-tunnel.dev/ref_type": ["branch"],
            "agent.ci-tunnel.dev/ref_protected": ["false"],
        },
    });
    assert_eq!(whoami(&job).await?, expected);

    // Without an environment, and without numbers: no other system's project passes for one of GitLab's.
    let job = installed
        .job(&["--project=acme/team/shop", "--job-id=abc"])
        .await?;
    let who = whoami(&job).await?;
    let groups = json!([
        "gitlab:ci_job",
        "ci-tunnel:group:acme/team",
        "ci-tunnel:group:acme",
        "ci-tunnel:project:acme/team/shop",
        "system:authenticated"
    ]);
    assert_eq!(
        (&who["username"], &who["groups"]),
        (&json!("gitlab:ci_job:abc"), &groups)
    );
    Ok(())
}

#[tokio::test]
async fn ci_user_has_gitlabs_names() -> Result<()> {
    let Some(installed) = Installed::get("access_as: ci_user").await else {
        return Ok(());
    };
    let flags = [
        "--project=acme/people",
        "--project-id=8",
        "--job-id=1",
        "--user=ann",
        "--user-role=developer",
    ];
    let who = whoami(&installed.job(&flags).await?).await?;
    assert_eq!(who["username"], "gitlab:user:ann");
    let roles = ["guest", "planner", "reporter", "developer"]
        .map(|role| format!("gitlab:project_role:8:{role}"));
    let groups = [
        &["gitlab:user".to_owned()][..],
        &roles,
        &["system:authenticated".to_owned()],
    ]
    .concat();
    assert_eq!(who["groups"], json!(groups));
    assert_eq!(who["extra"]["agent.gitlab.com/username"], json!(["ann"]));
    let nobody = installed.uninvited(1, &["--project=acme/people"]).await?;
    let text = refusal(&nobody, &["get", "pods"]).await?;
    assert!(
        text.contains("(Forbidden)") && text.contains("does not tell its user_login"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn impersonate_tells_name_uid_groups_and_extras() -> Result<()> {
    let Some(installed) = Installed::get("access_as: impersonate").await else {
        return Ok(());
    };
    let expected = json!({
        "username": "robot",
        "uid": "4242-uid",
        "groups": ["robots", "deployers:all of them", "system:authenticated"],
        "extra": {"example.com/team_name%": ["blue", "green", "a=b c"]},
    });
    let who = whoami(&installed.job(&["--project=acme/robots"]).await?).await?;
    assert_eq!(who, expected);
    Ok(())
}

#[tokio::test]
async fn templates_are_filled_in_or_refused() -> Result<()> {
    let Some(installed) = Installed::get("templates").await else {
        return Ok(());
    };
    let flags = [
        "--project=acme/templates",
        "--job-id=12",
        "--ref=v1.0",
        "--ref-type=tag",
        "--user=bob",
    ];
    let known = [
        &flags[..],
        &["--environment=review/ä b", "--environment-tier=testing"],
    ]
    .concat();
    let expected = json!({
        "username": "job:acme/templates:review/ä b",
        "uid": "12",
        "groups": ["tier:testing", "by:bob", "ref:v1.0", "system:authenticated"],
        "extra": {"example.com/ref": ["tag/v1.0", "1"]},
    });
    assert_eq!(whoami(&installed.job(&known).await?).await?, expected);

    for (without, name) in [
        ("--environment-tier", "environment_tier"),
        ("--user", "user_login"),
        ("--job-id", "job_id"),
    ] {
        let less: Vec<&str> = known
            .iter()
            .copied()
            .filter(|flag| !flag.starts_with(&format!("{without}=")))
            .collect();
        let job = installed.uninvited(1, &less).await?;
        let text = refusal(&job, &["get", "pods"]).await?;
        assert!(text.starts_with("Error from server (Forbidden): ci-tunnel: this job may not use agent acme/infra:prod: "), "{text}");
        assert!(
            text.contains(&format!("the job's credential does not tell its {name}")),
            "{text}"
        );
    }
    Ok(())
}
