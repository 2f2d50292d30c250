//! Who decides on a job: GitLab, the configuration here, or both.

use anyhow::{Result, ensure};
use ci_tunnel_tests::issuer::jobs::Job;
use serde_json::{Value, json};

use super::{ID, STRANGER, Setup, job, text};

#[tokio::test]
async fn both_must_let_a_job_in_and_the_configuration_here_says_who_it_is() -> Result<()> {
    let setup = Setup::start(json!({"cache_refusals": "0s"})).await?;
    let environment = Some(("review-a1b2c3".to_owned(), "development".to_owned()));
    let token = setup.jobs.start(Job {
        environment,
        ..job(json!({"default_namespace": "shop"}))
    });
    setup.allowed(&token).await?;
    let line = setup.audited(4711).await?;
    ensure!(
        text(&line, "rule")?.starts_with("projects[0]"),
        "by the file here: {line}"
    );
    let who = &line["kubernetes"];
    assert_eq!(who["as"], "gitlab:ci_job:4711", "{line}");
    let groups = json!([
        "gitlab:ci_job",
        "gitlab:group:31",
        "gitlab:group_env_tier:31:development",
        "gitlab:group:3",
        "gitlab:group_env_tier:3:development",
        "gitlab:project:7",
        "gitlab:project_env:7:review-a1b2c3",
        "gitlab:project_env_tier:7:development",
    ]);
    assert_eq!(who["groups"], groups, "{line}");
    assert_eq!(line["token"], "gitlab/job/4711", "{line}");

    // GitLab does not list the agent.
    let unlisted = setup.jobs.start(Job::default());
    setup.refused(&unlisted, 403, "no rule").await?;
    // The configuration here does not name the project.
    let other = setup.jobs.start(Job {
        path: "acme/team/other".to_owned(),
        ..job(json!({}))
    });
    setup.refused(&other, 403, "no rule").await?;
    // GitLab means another agent by this id.
    let elsewhere = Job::default().agent(ID, "acme/elsewhere", json!({}));
    let elsewhere = setup.jobs.start(elsewhere);
    setup.refused(&elsewhere, 403, "no such agent").await?;
    let (_, body) = setup.answer(&elsewhere).await?;
    ensure!(
        !body.contains("acme/elsewhere") && !body.contains("infra"),
        "the job learns of an agent that is none of its: {body}"
    );
    let why = |line: &Value| {
        let message = line["message"].as_str();
        message.is_some_and(|message| message.contains("is configured in acme/elsewhere"))
    };
    setup.tunnel.audited(why).await?;
    Ok(())
}

#[tokio::test]
async fn gitlab_alone_decides_as_whom_when_it_is_told_to() -> Result<()> {
    let settings = json!({"authorize": "gitlab", "cache": "0s"});
    let setup = Setup::configured(settings, "ci_access: { implicit: false }").await?;
    let impersonate = json!({"username": "deployer", "uid": "7", "groups": ["a", "b"],
        "extra": [{"key": "k", "val": ["v", "w"]}]});
    let cases = [
        (json!({}), Some("agent")),
        (json!({"access_as": {}}), Some("agent")),
        (json!({"access_as": {"agent": {}}}), Some("agent")),
        (
            json!({"access_as": {"ci_job": {}}, "environments": ["prod*"], "protected_branches_only": true,
                "resource_management": {"enabled": true}}),
            Some("gitlab:ci_job:4711"),
        ),
        (
            json!({"access_as": {"ci_user": {}}}),
            Some("gitlab:user:ann"),
        ),
        (
            json!({"access_as": {"impersonate": impersonate}}),
            Some("deployer"),
        ),
    ];
    for (number, (entry, user)) in cases.into_iter().enumerate() {
        let id = 100 + number as u64;
        let mut job = job(entry);
        if user != Some("gitlab:ci_job:4711") {
            job.id = id;
        }
        let id = job.id;
        let token = setup.jobs.start(job);
        setup.allowed(&token).await?;
        let line = setup.audited(id).await?;
        assert_eq!(
            line["rule"], "GitLab's configuration of agent 4242",
            "{line}"
        );
        let username = line["kubernetes"]["as"].as_str();
        assert_eq!(username, user, "{line}");
    }
    Ok(())
}

#[tokio::test]
async fn what_gitlab_says_and_nobody_understands_is_a_denial() -> Result<()> {
    let settings = json!({"authorize": "gitlab", "cache_refusals": "0s"});
    let setup = Setup::start(settings).await?;
    let entries = [
        json!({"access_as": {"root": {}}}),
        json!({"access_as": {"agent": {}, "ci_job": {}}}),
        json!({"access_as": "agent"}),
        json!({"acces_as": {"ci_job": {}}}),
        json!({"access_as": {"impersonate": {}}}),
        json!({"access_as": {"impersonate": {"username": "a", "rank": "b"}}}),
        json!({"default_namespace": 7}),
        json!(["access_as"]),
        json!("agent"),
    ];
    for entry in entries {
        let token = setup.jobs.start(job(entry.clone()));
        let told = setup.refused(&token, 403, "is not understood").await;
        ensure!(told.is_ok(), "{entry}: {told:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_id_that_was_not_given_means_nothing_to_gitlab() -> Result<()> {
    for mode in ["gitlab", "both"] {
        let setup = Setup::start(json!({"authorize": mode})).await?;
        let shown = setup.tunnel.cli(&["agent", "show", STRANGER, "--json"]);
        let shown: Value = serde_json::from_str(&shown.await?)?;
        let id = shown["id"].as_u64().unwrap();
        let token = setup
            .jobs
            .start(Job::default().agent(id, "acme/infra", json!({})));
        let bearer = format!("ci:{id}:{token}");
        let answer = setup.tunnel.client(&bearer)?.get("/small").await?;
        let body = String::from_utf8_lossy(answer.body()).into_owned();
        ensure!(answer.status() == 403, "{mode}: {body}");
        ensure!(body.contains("no such agent"), "{mode}: {body}");
        let why = |line: &Value| {
            let message = line["message"].as_str();
            message.is_some_and(|message| message.contains("--id"))
        };
        setup.tunnel.audited(why).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_configuration_here_alone_decides_when_it_is_told_to() -> Result<()> {
    let config = "ci_access: { projects: [{ id: acme/team/shop, refs: [main], ref_type: branch, \
                  pipeline_sources: [push], users: [ann] }, { id: acme/team/shop, environments: ['*'] }] }";
    let setup = Setup::configured(json!({"authorize": "config"}), config).await?;
    let token = setup.jobs.start(Job::default());
    setup.allowed(&token).await?;
    let merge_request = setup.jobs.start(Job {
        id: 4712,
        git_ref: "refs/merge-requests/7/head".to_owned(),
        source: "merge_request_event".to_owned(),
        environment: Some(("production".to_owned(), "production".to_owned())),
        ..Job::default()
    });
    // The environment's name is not known, whatever its slug.
    setup
        .refused(&merge_request, 403, "no known environment")
        .await?;
    let tag = setup.jobs.start(Job {
        id: 4713,
        git_ref: "main".to_owned(),
        tag: true,
        ..Job::default()
    });
    setup.refused(&tag, 403, "tag, not a branch").await
}

#[tokio::test]
async fn a_kubeconfig_for_a_job_token_holds_that_token() -> Result<()> {
    let setup = Setup::start(json!({})).await?;
    let token = setup.jobs.start(job(json!({})));
    let kubeconfig = setup.tunnel.kubeconfig(&token, "").await?;
    let text = std::fs::read_to_string(kubeconfig)?;
    ensure!(text.contains(&format!("ci:{ID}:{token}")), "{text}");
    let client = setup.tunnel.client(&token)?;
    let asked = client.get("/kubeconfig?ttl=5m").await?;
    let body = String::from_utf8_lossy(asked.body()).into_owned();
    ensure!(
        asked.status() == 403 && body.contains("as long as"),
        "{body}"
    );
    Ok(())
}

#[tokio::test]
async fn rules_for_environments_and_protected_refs_hold_for_job_tokens() -> Result<()> {
    let config = "ci_access: { projects: [\
                  { id: acme/team/shop, environments: ['review/*'], access_as: { impersonate: { username: 'env:{environment}' } } },\
                  { id: acme/team/shop, protected_branches_only: true, access_as: { ci_job: {} } }] }";
    let settings = json!({"authorize": "config"});
    let setup = Setup::configured(settings, config).await?;
    let named = |name: &str, slug: &str| json!({"id": 1, "name": name, "slug": slug});
    let mut environments: Vec<_> = (0..150)
        .map(|number| {
            named(
                &format!("review/other-{number}"),
                &format!("review-other-{number}"),
            )
        })
        .collect();
    environments.push(named("review/Topic", "review-topic-a1b2c3"));
    let of = |id, slug: &str, git_ref: &str, tag| Job {
        id,
        git_ref: git_ref.to_owned(),
        tag,
        environment: Some((slug.to_owned(), "development".to_owned())),
        environments: Some(environments.clone()),
        branches: Some(vec![
            json!({"name": "main", "protected": true}),
            json!({"name": "main-2", "protected": false}),
        ]),
        tags: Some(vec![json!({"name": "main-2", "protected": true})]),
        ..Job::default()
    };
    let cases = [
        (
            of(1, "review-topic-a1b2c3", "main-2", false),
            Some("env:review/Topic"),
        ),
        (of(2, "other", "main", false), Some("gitlab:ci_job:2")),
        (of(3, "other", "main-2", true), Some("gitlab:ci_job:3")),
        (of(4, "other", "main-2", false), None),
        (of(5, "other", "mai", false), None),
        (of(6, "other", "refs/merge-requests/7/head", false), None),
        // GitLab does not show the job what its project has.
        (
            Job {
                environments: None,
                branches: None,
                ..of(7, "review-topic-a1b2c3", "main", false)
            },
            None,
        ),
    ];
    for (job, user) in cases {
        let id = job.id;
        let token = setup.jobs.start(job);
        let (code, body) = setup.answer(&token).await?;
        ensure!((code == 200) == user.is_some(), "{id}: {code} {body}");
        let line = setup.audited(id).await?;
        let username = line["kubernetes"]["as"].as_str();
        assert_eq!(username, user, "{id}: {line}");
    }
    Ok(())
}
