//! Tokens that are good: whose job it is, in this realm and no other.

use anyhow::{Context as _, Result, ensure};
use ci_tunnel_tests::client::Http;
use serde_json::json;

use super::Bed;

#[tokio::test]
async fn jobs_of_two_issuers_at_once_are_themselves() -> Result<()> {
    let bed = Bed::start().await?;
    let gitlab = bed.gitlab.token().with("project_path", "acme/open");
    let gitlab = gitlab
        .with("job_project_path", "acme/open")
        .with("namespace_path", "acme");
    let who = bed.whoami(&gitlab.sign()).await?;
    assert_eq!(who["username"], "gitlab:ci_job:4711", "{who}");
    let groups = json!([
        "gitlab:ci_job",
        "gitlab:group:3",
        "gitlab:project:7",
        "system:authenticated"
    ]);
    assert_eq!(who["groups"], groups, "{who}");

    let github = bed.github.token();
    let who = bed.whoami(&github.sign()).await?;
    assert_eq!(who["username"], "github:ci_job:81234567890", "{who}");
    let groups = json!([
        "github:ci_job",
        "github:group:65",
        "github:project:74",
        "system:authenticated"
    ]);
    assert_eq!(who["groups"], groups, "{who}");

    for (token, provider) in [(&gitlab, "gitlab"), (&github, "github")] {
        let jti = token.claim("jti").as_str().context("jti")?;
        let line = bed
            .rig
            .tunnel
            .audited(|line| line.to_string().contains(jti))
            .await?;
        assert_eq!(line["job"]["provider"], provider, "{line}");
        assert_eq!(line["status"], 201, "{line}");
    }
    Ok(())
}

#[tokio::test]
async fn the_same_path_elsewhere_is_another_project() -> Result<()> {
    let bed = Bed::start().await?;
    // `acme/shop` is let in of GitHub, `acme/open` of GitLab.
    let gitlab = bed.gitlab.token().with("project_path", "acme/shop");
    let gitlab = gitlab
        .with("job_project_path", "acme/shop")
        .with("namespace_path", "acme");
    bed.refused(&gitlab.sign(), 403).await?;
    let github = bed.github.token().with("repository", "acme/open");
    bed.refused(&github.sign(), 403).await?;
    // Nor are GitHub's own words for the other realm believed.
    let github = github
        .with("project_path", "acme/team/other")
        .with("environment", "production");
    bed.refused(&github.sign(), 403).await?;
    Ok(())
}

#[tokio::test]
async fn the_environment_of_one_project_is_not_that_of_another() -> Result<()> {
    let bed = Bed::start().await?;
    let shop = bed.gitlab.token();
    bed.whoami(&shop.clone().with("environment", "staging").sign())
        .await?;
    bed.whoami(&shop.clone().with("environment", "review/7").sign())
        .await?;
    let message = bed
        .refused(&shop.clone().with("environment", "production").sign(), 403)
        .await?;
    ensure!(message.contains("environment"), "{message}");
    for environment in ["Staging", "staging ", "staging/x", "review/7/x", "rеview/7"] {
        let token = shop.clone().with("environment", environment);
        bed.refused(&token.sign(), 403).await?;
    }
    bed.refused(&shop.sign(), 403).await?;
    Ok(())
}

#[tokio::test]
async fn paths_are_whole_segments_of_plain_letters() -> Result<()> {
    let bed = Bed::start().await?;
    let at = |path: &str| {
        let namespace = path.rsplit_once('/').map_or("", |(namespace, _)| namespace);
        let token = bed.gitlab.token().with("project_path", path);
        token
            .with("job_project_path", path)
            .with("namespace_path", namespace)
            .sign()
    };
    for path in [
        "group/app",
        "group/deep/app",
        "GROUP/App",
        "acme/open",
        "Acme/Open",
    ] {
        bed.whoami(&at(path)).await.context(path)?;
    }
    for path in [
        "group-evil/app",
        "groupevil/app",
        "evil/group/app",
        "group",
        "acme/open-evil",
        "acme/ope",
        "acme/open/more",
        "acme-open",
    ] {
        bed.refused(&at(path), 403).await.context(path)?;
    }
    for path in [
        "grоup/app",
        "ｇroup/app",
        "group\u{200d}/app",
        "group/../acme/open",
        "acme//open",
        "acme%2Fopen",
        "acme/open\u{0000}",
        "acme\\open",
    ] {
        let message = bed.refused(&at(path), 401).await.context(path)?;
        ensure!(message.contains("project_path"), "{message}");
    }
    Ok(())
}

#[tokio::test]
async fn what_sub_says_decides_nothing() -> Result<()> {
    let bed = Bed::start().await?;
    let sub = "project_path:acme/team/other:ref_type:branch:ref:main";
    let shop = bed.gitlab.token().with("sub", sub);
    bed.refused(&shop.with("environment", "production").sign(), 403)
        .await?;
    let sub = "repo:acme/shop:environment:production";
    let evil = bed.github.token().with("sub", sub);
    let evil = evil
        .with("repository", "evil/shop")
        .with("repository_owner", "evil");
    bed.refused(&evil.sign(), 403).await?;
    bed.whoami(&bed.github.token().with("sub", json!(7)).sign())
        .await?;
    Ok(())
}

#[tokio::test]
async fn pull_requests_are_of_no_protected_branch() -> Result<()> {
    let bed = Bed::start().await?;
    let careful = bed.gitlab.token().with("project_path", "acme/careful");
    let careful = careful
        .with("job_project_path", "acme/careful")
        .with("namespace_path", "acme");
    bed.whoami(&careful.sign()).await?;
    bed.refused(&careful.clone().with("ref_protected", "false").sign(), 403)
        .await?;
    // A GitLab before 18.4 does not tell whether it runs for a fork, whose `main` is no protected branch.
    let old = careful
        .without("job_project_path")
        .without("job_project_id")
        .with("pipeline_source", "merge_request_event");
    let message = bed.refused(&old.sign(), 403).await?;
    ensure!(message.contains("unknown"), "{message}");
    Ok(())
}

#[tokio::test]
async fn pipelines_for_forks() -> Result<()> {
    let fork = |bed: &Bed| {
        let token = bed.gitlab.token().with("project_path", "evil/shop");
        token
            .with("project_id", "666")
            .with("namespace_path", "evil")
            .with("job_project_path", "acme/open")
    };
    let bed = Bed::start().await?;
    let message = bed.refused(&fork(&bed).sign(), 401).await?;
    ensure!(
        message.contains("fork") && message.contains("evil/shop") && message.contains("acme/open"),
        "{message}"
    );
    // The other way round: the fork's own pipeline with the parent's code is the fork's.
    let own = fork(&bed).with("job_project_path", "evil/shop");
    bed.refused(&own.with("job_project_id", "666").sign(), 403)
        .await?;

    let bed = Bed::with(json!({"forks": "allow"})).await?;
    bed.refused(&fork(&bed).sign(), 403).await?;
    let known = fork(&bed)
        .with("project_path", "group/shop")
        .with("namespace_path", "group");
    let who = bed.whoami(&known.sign()).await?;
    assert_eq!(who["groups"][2], "gitlab:project:666", "{who}");
    Ok(())
}

#[tokio::test]
async fn a_kubeconfig_outlives_the_token_it_was_got_with() -> Result<()> {
    let bed = Bed::with(json!({"clock_skew": "0s"})).await?;
    let token = bed.github.token().ends_in(5);
    let jti = token.claim("jti").as_str().context("jti")?.to_owned();
    let (token, tunnel) = (token.sign(), &bed.rig.tunnel);
    let file = tunnel.kubeconfig(&token, "").await?;
    bed.becomes(&token, 401).await?;
    let message = bed.refused(&token, 401).await?;
    ensure!(
        message.contains("expired") || message.contains("ended"),
        "{message}"
    );
    let text = std::fs::read_to_string(file)?;
    let bearer = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("token: "))
        .context("a token in the KUBECONFIG")?;
    let client = bed.rig.client_as(Http::One, bearer.trim_matches('"'))?;
    assert_eq!(client.get("/small").await?.status(), 200);
    let revoke = ["job-token", "revoke", &jti, "--unlisted"];
    tunnel.cli(&revoke).await?;
    let refused = async {
        while client.get("/small").await?.status() != 401 {}
        anyhow::Ok(())
    };
    ci_tunnel_tests::deadline::within("the revocation", refused).await?
}
