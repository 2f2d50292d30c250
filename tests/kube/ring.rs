//! What the tests share: the cluster, a tunnel to it, and a job that may do anything there.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use ci_tunnel_tests::client::{Client, Http};
use ci_tunnel_tests::cluster::{Cluster, Kubectl};
use ci_tunnel_tests::deadline::within_time;
use ci_tunnel_tests::tunnel::{Account, Tunnel, grant};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::OnceCell;

/// A cluster behind a tunnel.
#[derive(Debug)]
pub(crate) struct Ring {
    pub(crate) cluster: &'static Cluster,
    pub(crate) tunnel: Tunnel,
    kubeconfig: PathBuf,
    /// For asking the API server without the tunnel.
    account: String,
}

/// Whom the API server takes the job for.
pub(crate) const USER: &str = "gitlab:ci_job:4711";

impl Ring {
    /// `None`, said aloud, where there can be no cluster.
    pub(crate) async fn get(test: &str) -> Option<&'static Self> {
        static RING: OnceCell<Result<Ring, String>> = OnceCell::const_new();
        Self::once(&RING, test, "kube", "").await
    }

    /// As [`Self::get`], with an agent that QUIC does not reach.
    pub(crate) async fn over_http2(test: &str) -> Option<&'static Self> {
        static RING: OnceCell<Result<Ring, String>> = OnceCell::const_new();
        Self::once(&RING, test, "kube-http2", "transport: http2").await
    }

    async fn once(
        ring: &'static OnceCell<Result<Self, String>>,
        test: &str,
        logs: &str,
        agent_yaml: &str,
    ) -> Option<&'static Self> {
        let cluster = Cluster::shared_or_skip(test).await?;
        let start = async || {
            Self::start(cluster, logs, agent_yaml)
                .await
                .map_err(|error| format!("{error:#}"))
        };
        let ring = ring.get_or_init(start).await.as_ref();
        let ring = ring
            .map_err(|error| anyhow!("{error}"))
            .expect("the tunnel starts");
        // Shown for failed tests only.
        eprintln!("server and agent log to {}", ring.tunnel.logs().display());
        Some(ring)
    }

    async fn start(cluster: &'static Cluster, logs: &str, agent_yaml: &str) -> Result<Self> {
        grant(cluster, "gitlab:ci_job", "cluster-admin").await?;
        let config = "ci_access: { projects: [{ id: acme/shop, access_as: { ci_job: {} } }] }";
        let tunnel = Tunnel::builder()
            .agent("acme/infra:prod", config)
            .cluster(cluster)
            .agent_yaml(agent_yaml)
            .logs(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(logs))
            .start()
            .await?;
        let job = [
            "--project",
            "acme/shop",
            "--project-id",
            "5",
            "--job-id",
            "4711",
        ];
        let token = tunnel.job_token(&job).await?;
        Ok(Self {
            cluster,
            kubeconfig: tunnel.kubeconfig(&token, "").await?,
            account: Account::create(cluster).await?.token().to_owned(),
            tunnel,
        })
    }

    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// `kubectl` of the job, through the tunnel.
    pub(crate) fn kubectl(&self) -> Result<Kubectl> {
        self.tunnel.kubectl(&self.kubeconfig)
    }

    /// `helm` of the job, through the tunnel.
    pub(crate) fn helm(&self) -> Result<Kubectl> {
        self.tunnel.helm(&self.kubeconfig)
    }

    /// The job through the tunnel, without a program in between.
    pub(crate) fn client(&self, http: Http) -> Result<Client> {
        self.tunnel.client_of(&self.kubeconfig, http)
    }

    /// The agents' account at the API server itself.
    pub(crate) fn direct(&self, http: Http) -> Result<Client> {
        let url = self.cluster.api_url();
        let address = url.trim_start_matches("https://").parse()?;
        Client::new(address, self.cluster.ca_pem(), http, &self.account)
    }

    /// A namespace with a running pod `web`.
    pub(crate) async fn pod(&self, prefix: &str) -> Result<String> {
        let namespace = self.cluster.namespace(prefix).await?;
        let kubectl = self.cluster.kubectl();
        kubectl
            .run_with(["apply", "-n", &namespace, "-f", "-"], POD.as_bytes())
            .await?;
        let ready = ["wait", "-n", &namespace, "--for=condition=Ready", "pod/web"];
        kubectl.run(ready).await?;
        Ok(namespace)
    }
}

/// Runs a command to its end, with this on its standard input.
pub(crate) async fn finish(mut command: Command, input: &[u8]) -> Result<Output> {
    let mut child = command.stdin(std::process::Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("piped above")?;
    let both = async {
        let feed = async {
            // One that does not read its input is as good.
            let _ = stdin.write_all(input).await;
            drop(stdin);
        };
        tokio::join!(feed, child.wait_with_output()).1
    };
    Ok(within_time(Duration::from_secs(60), "a command to end", both).await??)
}

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: { name: web, labels: { app: web } }
spec: { containers: [{ name: web, image: web }] }
";
