//! Jobs that come with an ID token of their CI system, as the API server sees them: at once, and with a KUBECONFIG that they
//! got for it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use ci_tunnel_tests::apiserver::kubeconfig;
use ci_tunnel_tests::cluster::Cluster;
use ci_tunnel_tests::issuer::{Issuer, Token};
use ci_tunnel_tests::tunnel::Tunnel;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::installed::{refusal, whoami};

const AGENT: &str = "acme/infra:prod";
const CONFIG: &str = "
ci_access:
  projects:
  - id: acme/team/shop
    environments: [production/*]
    protected_branches_only: true
    access_as: { ci_job: {} }
  - id: acme/shop
    provider: github
    access_as: { ci_job: {} }
  - id: acme/people
    access_as: { ci_user: {} }
";

/// The real cluster behind a server that takes the word of a GitLab and a GitHub.
struct Place {
    tunnel: Tunnel,
    gitlab: Issuer,
    github: Issuer,
    files: TempDir,
}

impl Place {
    async fn get(test: &str) -> Result<Option<Self>> {
        let Some(cluster) = Cluster::shared_or_skip(test).await else {
            return Ok(None);
        };
        let (gitlab, github) = (Issuer::gitlab().await?, Issuer::github().await?);
        let files = tempfile::tempdir()?;
        let providers = [
            gitlab.provider("gitlab", &gitlab.ca_file(files.path())?),
            github.provider("github", &github.ca_file(files.path())?),
        ];
        let yaml = json!({
            "authn": {"providers": providers},
            "config_repositories": [{"directory": "$REPOSITORIES", "provider": "gitlab"}],
        });
        let tunnel = Tunnel::builder()
            .server_yaml(&yaml.to_string())
            .agent(AGENT, CONFIG)
            .cluster(cluster)
            .start()
            .await?;
        Ok(Some(Self {
            tunnel,
            gitlab,
            github,
            files,
        }))
    }

    /// As whom a job acts that puts its token into a KUBECONFIG itself, and one that gets its KUBECONFIG for it.
    async fn both_ways(&self, token: &Token) -> Result<[Value; 2]> {
        let token = token.sign();
        let own = self.own_kubeconfig(&token)?;
        let got = self.tunnel.kubeconfig(&token, "").await?;
        Ok([self.whoami(&own).await?, self.whoami(&got).await?])
    }

    fn own_kubeconfig(&self, token: &str) -> Result<PathBuf> {
        let url = format!("https://{}", self.tunnel.api_addr());
        let file = self.files.path().join("kubeconfig");
        let bearer = format!("ci:1:{token}");
        std::fs::write(&file, kubeconfig(&url, self.tunnel.ca_pem(), &bearer))?;
        Ok(file)
    }

    async fn whoami(&self, file: &Path) -> Result<Value> {
        whoami(&self.tunnel.kubectl(file)?).await
    }
}

#[tokio::test]
async fn a_job_of_gitlab_has_gitlabs_names() -> Result<()> {
    let Some(place) = Place::get("ID tokens of GitLab").await? else {
        return Ok(());
    };
    let token = place.gitlab.token();
    let production = token
        .clone()
        .with("environment", "production/eu")
        .with("environment_protected", "true")
        .with("deployment_tier", "production");
    // GitLab's token tells the number of the project's own group, and of no other.
    let expected = json!({
        "username": "gitlab:ci_job:4711",
        "groups": [
            "gitlab:ci_job",
            "gitlab:group:3",
            "gitlab:group_env_tier:3:production",
            "gitlab:group:acme",
            "gitlab:group_env_tier:acme:production",
            "gitlab:project:7",
            "gitlab:project_env:7:production-eu-ytgffm",
            "gitlab:project_env_tier:7:production",
            "system:authenticated",
        ],
        "extra": {
            "agent.gitlab.com/id": ["1"],
            "agent.gitlab.com/project_id": ["7"],
            "agent.gitlab.com/ci_pipeline_id": ["99"],
            "agent.gitlab.com/ci_job_id": ["4711"],
            "agent.gitlab.com/username": ["ann"],
            "agent.gitlab.com/environment_slug": ["production-eu-ytgffm"],
            "agent.gitlab.com/environment_tier": ["production"],
            "agent.ci-tunnel.dev/provider": ["gitlab"],
            "agent.ci-tunnel.dev/ref": ["main"],
            "agent.ci-tunnel.dev/ref_type": ["branch"],
            "agent.ci-tunnel.dev/ref_protected": ["true"],
        },
    });
    for who in place.both_ways(&production).await? {
        assert_eq!(who, expected);
    }
    let feature = production.clone().with("ref_protected", "false");
    let kubectl = place
        .tunnel
        .kubectl(&place.own_kubeconfig(&feature.sign())?)?;
    let text = refusal(&kubectl, &["get", "pods"]).await?;
    ensure!(text.contains("the ref is not protected"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_user_of_gitlab_has_the_roles_of_the_token() -> Result<()> {
    let Some(place) = Place::get("users of ID tokens").await? else {
        return Ok(());
    };
    let token = place.gitlab.token().with("project_path", "acme/people");
    let token = token
        .with("job_project_path", "acme/people")
        .with("namespace_path", "acme");
    for who in place.both_ways(&token).await? {
        assert_eq!(who["username"], "gitlab:user:ann", "{who}");
        let groups = who["groups"].as_array().context("groups")?;
        ensure!(
            groups.contains(&json!("gitlab:project_role:7:developer")),
            "{who}"
        );
        ensure!(
            !groups.contains(&json!("gitlab:project_role:7:maintainer")),
            "{who}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_job_of_github_has_names_of_its_own() -> Result<()> {
    let Some(place) = Place::get("ID tokens of GitHub").await? else {
        return Ok(());
    };
    let token = place.github.token().with("environment", "production");
    let expected = json!({
        "username": "github:ci_job:81234567890",
        "groups": [
            "github:ci_job",
            "github:group:65",
            "github:project:74",
            "system:authenticated",
        ],
        "extra": {
            "agent.ci-tunnel.dev/id": ["1"],
            "agent.ci-tunnel.dev/project_id": ["74"],
            "agent.ci-tunnel.dev/ci_pipeline_id": ["1234567890"],
            "agent.ci-tunnel.dev/ci_job_id": ["81234567890"],
            "agent.ci-tunnel.dev/username": ["ann"],
            "agent.ci-tunnel.dev/provider": ["github"],
            "agent.ci-tunnel.dev/ref": ["main"],
            "agent.ci-tunnel.dev/ref_type": ["branch"],
            "agent.ci-tunnel.dev/ref_protected": ["true"],
        },
    });
    for who in place.both_ways(&token).await? {
        assert_eq!(who, expected);
    }
    Ok(())
}
