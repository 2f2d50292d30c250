//! The KUBECONFIG that GitLab itself writes into a job, unchanged: the real `kubectl` and `helm` with a job token, through
//! the URL prefix that GitLab's own proxy has.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ci_tunnel_tests::cluster::{Cluster, Kubectl};
use ci_tunnel_tests::deadline::within_time;
use ci_tunnel_tests::issuer::Issuer;
use ci_tunnel_tests::issuer::jobs::{self, Job, Jobs};
use ci_tunnel_tests::tunnel::{Tunnel, grant};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::helm::chart;
use crate::ring::finish;

const AGENT: &str = "acme/infra:prod";
const ID: u64 = 4242;
const CONTEXT: &str = "--context=acme/infra:prod";

/// A server that GitLab's KUBECONFIG points to.
struct Place {
    cluster: &'static Cluster,
    tunnel: Tunnel,
    jobs: Jobs,
    folder: tempfile::TempDir,
    /// Runs while the tests do.
    _gitlab: Issuer,
}

impl Place {
    async fn get(test: &str, authorize: &str) -> Result<Option<Self>> {
        let Some(cluster) = Cluster::shared_or_skip(test).await else {
            return Ok(None);
        };
        // What the owner of the cluster gives to whoever deploys to production.
        grant(
            cluster,
            "gitlab:project_env_tier:7:production",
            "cluster-admin",
        )
        .await?;
        let folder = tempfile::tempdir()?;
        let gitlab = Issuer::gitlab().await?;
        let provider = json!({
            "name": "gitlab",
            "type": "gitlab",
            "url": gitlab.url(),
            "ca_file": gitlab.ca_file(folder.path())?,
            "job_tokens": {"authorize": authorize, "recheck": "1s"},
        });
        let server = json!({
            "authn": {"providers": [provider]},
            "kubernetes_api": {"url_path_prefix": "/k8s-proxy/"},
        });
        let config = "ci_access: { projects: [{ id: acme/team/shop, environments: [production], \
                      access_as: { ci_job: {} } }] }";
        let tunnel = Tunnel::builder()
            .server_yaml(&server.to_string())
            .agent(AGENT, config)
            .id(AGENT, ID)
            .cluster(cluster)
            .start()
            .await?;
        Ok(Some(Self {
            cluster,
            tunnel,
            jobs: gitlab.jobs(),
            folder,
            _gitlab: gitlab,
        }))
    }

    /// What GitLab gives to a job that runs now.
    fn start(&self, namespace: Option<&str>) -> Result<(String, PathBuf)> {
        let token = self.jobs.start(job());
        let port = self.tunnel.api_addr().port();
        let server = format!("https://localhost:{port}/k8s-proxy/");
        let text = jobs::kubeconfig(&server, &token, &[(ID, AGENT, namespace)]);
        let file = self.folder.path().join("KUBECONFIG");
        std::fs::write(&file, text)?;
        Ok((token, file))
    }

    /// The program as jobs call it: GitLab's KUBECONFIG names no authority, so it is the system's to trust.
    fn command(&self, program: &Kubectl, arguments: &[&str]) -> Command {
        let mut command = program.command(arguments);
        command.env("SSL_CERT_FILE", self.tunnel.state_dir().join("ca.pem"));
        command
    }

    async fn run(&self, program: &Kubectl, arguments: &[&str]) -> Result<String> {
        let output = finish(self.command(program, arguments), b"").await?;
        let (out, error) = (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        );
        ensure!(output.status.success(), "{arguments:?}: {out}{error}");
        Ok(out)
    }
}

fn job() -> Job {
    let job = Job {
        environment: Some(("production".to_owned(), "production".to_owned())),
        environments: Some(vec![json!({"name": "production", "slug": "production"})]),
        ..Job::default()
    };
    job.agent(
        ID,
        "acme/infra",
        json!({"access_as": {"ci_job": {}}, "environments": ["production"]}),
    )
}

#[tokio::test]
async fn kubectl_works_and_the_job_is_who_gitlab_says() -> Result<()> {
    for authorize in ["both", "gitlab"] {
        let Some(place) = Place::get("GitLab's KUBECONFIG: kubectl", authorize).await? else {
            return Ok(());
        };
        let namespace = place.cluster.namespace("gitlab").await?;
        let (_, file) = place.start(Some(&namespace))?;
        let kubectl = place.tunnel.kubectl(&file)?;
        let who = place.run(&kubectl, &[CONTEXT, "auth", "whoami", "-o", "json"]);
        let who: Value = serde_json::from_str(&who.await?)?;
        let who = &who["status"]["userInfo"];
        assert_eq!(who["username"], "gitlab:ci_job:4711", "{authorize}: {who}");
        let groups = json!([
            "gitlab:ci_job",
            "gitlab:group:31",
            "gitlab:group_env_tier:31:production",
            "gitlab:group:3",
            "gitlab:group_env_tier:3:production",
            "gitlab:project:7",
            "gitlab:project_env:7:production",
            "gitlab:project_env_tier:7:production",
            "system:authenticated",
        ]);
        assert_eq!(who["groups"], groups, "{authorize}: {who}");
        let extra = &who["extra"];
        for (key, value) in [
            ("id", "4242"),
            ("config_project_id", "5242"),
            ("project_id", "7"),
            ("ci_pipeline_id", "88"),
            ("ci_job_id", "4711"),
            ("username", "ann"),
            ("environment_slug", "production"),
            ("environment_tier", "production"),
        ] {
            let key = format!("agent.gitlab.com/{key}");
            assert_eq!(extra[&key], json!([value]), "{authorize}: {key}: {who}");
        }

        let make = ["create", "configmap", "made-by-a-job", "--from-literal=a=b"];
        place
            .run(&kubectl, &[&[CONTEXT], &make[..]].concat())
            .await?;
        let read = ["get", "configmap", "made-by-a-job", "-o=jsonpath={.data.a}"];
        // Without a namespace: GitLab's context has it.
        let read = [&[CONTEXT], &read[..]].concat();
        assert_eq!(place.run(&kubectl, &read).await?, "b", "{authorize}");
    }
    Ok(())
}

#[tokio::test]
async fn helm_installs_a_release() -> Result<()> {
    let Some(place) = Place::get("GitLab's KUBECONFIG: helm", "both").await? else {
        return Ok(());
    };
    let namespace = place.cluster.namespace("gitlab-helm").await?;
    let (_, file) = place.start(Some(&namespace))?;
    let helm = place.tunnel.helm(&file)?;
    let chart = chart()?;
    let chart = chart.path().to_str().unwrap();
    let context = "--kube-context=acme/infra:prod";
    let install = ["install", "shop", chart, context, "--wait", "--timeout=60s"];
    let installed = place.run(&helm, &install).await?;
    ensure!(installed.contains("STATUS: deployed"), "{installed}");
    place.run(&helm, &["uninstall", "shop", context]).await?;
    Ok(())
}

#[tokio::test]
async fn a_watch_ends_with_the_job() -> Result<()> {
    let Some(place) = Place::get("GitLab's KUBECONFIG: a job that ends", "both").await? else {
        return Ok(());
    };
    let (token, file) = place.start(Some("default"))?;
    let kubectl = place.tunnel.kubectl(&file)?;
    let watch = [
        CONTEXT,
        "get",
        "configmaps",
        "--watch",
        "--output-watch-events",
    ];
    let mut child = place.command(&kubectl, &watch).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("piped")?).lines();
    let soon = Duration::from_secs(30);
    let first = within_time(soon, "the watch to begin", lines.next_line());
    first.await??.context("it ended at once")?;
    place.jobs.end(&token);
    within_time(soon, "kubectl to end", child.wait()).await??;
    let ended = |line: &Value| line["end"]["cut"] == "job_ended";
    let line = place.tunnel.audited(ended).await?;
    assert_eq!(line["verb"], "watch", "{line}");
    Ok(())
}
