//! A cluster that the agent was installed in as `deploy/agent.yaml` says, where nobody has a right that no test gave.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use ci_tunnel_tests::apiserver::kubeconfig;
use ci_tunnel_tests::cluster::{Cluster, Kubectl};
use ci_tunnel_tests::tunnel::Tunnel;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::OnceCell;

pub(crate) const MANIFEST: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/agent.yaml"));
pub(crate) const AGENT: &str = "acme/infra:prod";
pub(crate) const ACCOUNT: &str = "system:serviceaccount:ci-tunnel:ci-tunnel-agent";

/// The cluster, and a tunnel whose agent runs as the manifest's account.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) tunnel: Tunnel,
    pub(crate) account: Mounted,
    pub(crate) cluster: Cluster,
}

impl Installed {
    /// The one that the tests of this process share. `None`, said aloud, where there can be no cluster.
    pub(crate) async fn get(test: &str) -> Option<&'static Self> {
        static SHARED: OnceCell<Result<Installed, String>> = OnceCell::const_new();
        if Cluster::is_to_be_skipped(test).await {
            return None;
        }
        let start = async || Self::start().await.map_err(|error| format!("{error:#}"));
        let shared = SHARED.get_or_init(start).await.as_ref();
        Some(
            shared
                .map_err(|error| anyhow!("{error}"))
                .expect("the second cluster starts"),
        )
    }

    async fn start() -> Result<Self> {
        let cluster = Cluster::start().await?;
        let kubectl = cluster.kubectl();
        // As deploy/README.md says.
        kubectl.run(["create", "namespace", "ci-tunnel"]).await?;
        let secret = [
            "create",
            "secret",
            "generic",
            "ci-tunnel-agent-token",
            "-n",
            "ci-tunnel",
        ];
        let literal = "--from-literal=token=citagent-of-the-real-agent-below";
        kubectl.run(secret.into_iter().chain([literal])).await?;
        kubectl.apply(MANIFEST).await?;
        let account = Mounted::new(&cluster)?;
        account.bind(&cluster, "one").await?;
        let tunnel = Tunnel::builder()
            .agent(AGENT, CONFIG)
            .service_account(&cluster, account.path())
            .start()
            .await?;
        Ok(Self {
            tunnel,
            account,
            cluster,
        })
    }

    /// `kubectl` of the job that these flags describe, with the KUBECONFIG that the server makes.
    pub(crate) async fn job(&self, flags: &[&str]) -> Result<Kubectl> {
        let token = self.tunnel.job_token(flags).await?;
        self.tunnel
            .kubectl(&self.tunnel.kubeconfig(&token, "").await?)
    }

    /// `kubectl` of a job that puts its token into a KUBECONFIG itself, as GitLab does, whether it is allowed or not.
    pub(crate) async fn uninvited(&self, agent: u64, flags: &[&str]) -> Result<Kubectl> {
        let token = self.tunnel.job_token(flags).await?;
        let url = format!("https://{}", self.tunnel.api_addr());
        let file = self.account.scratch("kubeconfig");
        fs::write(
            &file,
            kubeconfig(&url, self.tunnel.ca_pem(), &format!("ci:{agent}:{token}")),
        )?;
        self.tunnel.kubectl(&file)
    }
}

/// The words of a command line without quotes.
pub(crate) fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// Whom the API server takes the caller for.
pub(crate) async fn whoami(kubectl: &Kubectl) -> Result<Value> {
    let review: Value =
        serde_json::from_str(&kubectl.run(["auth", "whoami", "-o", "json"]).await?)?;
    Ok(review["status"]["userInfo"].clone())
}

/// What a `kubectl` that must fail says.
pub(crate) async fn refusal(kubectl: &Kubectl, arguments: &[&str]) -> Result<String> {
    let output = kubectl.output(arguments).await?;
    let text = String::from_utf8(output.stderr)?;
    assert!(!output.status.success(), "kubectl {arguments:?} is allowed");
    // Before it, each attempt at discovery has a line of the client's log.
    Ok(text[text.find("Error from server").unwrap_or(0)..].to_owned())
}

/// A service account's directory, laid out and rotated as the kubelet does.
#[derive(Debug)]
pub(crate) struct Mounted {
    directory: TempDir,
    mount: PathBuf,
}

impl Mounted {
    pub(crate) fn new(cluster: &Cluster) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mount = directory.path().join("mount");
        fs::create_dir(&mount)?;
        for file in ["token", "ca.crt", "namespace"] {
            symlink(Path::new("..data").join(file), mount.join(file))?;
        }
        fs::write(directory.path().join("ca.crt"), cluster.ca_pem())?;
        Ok(Self { directory, mount })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.mount
    }

    /// Another file of the test.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        self.directory.path().join(format!("{name}-{number}"))
    }

    /// Puts a token there that is good for as long as a new secret `name` exists; returns it.
    pub(crate) async fn bind(&self, cluster: &Cluster, name: &str) -> Result<String> {
        let kubectl = cluster.kubectl();
        let in_namespace = ["-n", "ci-tunnel"];
        kubectl
            .run(
                ["create", "secret", "generic", name]
                    .into_iter()
                    .chain(in_namespace),
            )
            .await?;
        let bound = format!("--bound-object-name={name}");
        let create = [
            "create",
            "token",
            "ci-tunnel-agent",
            "--duration=1h",
            "--bound-object-kind=Secret",
            &bound,
        ];
        let token = kubectl
            .run(create.into_iter().chain(in_namespace))
            .await?
            .trim()
            .to_owned();
        self.put(&token, name)?;
        Ok(token)
    }

    /// Puts a token there: a new directory, and a link to it that replaces the old one at once.
    pub(crate) fn put(&self, token: &str, name: &str) -> Result<()> {
        let (mount, name) = (self.path(), format!("..{name}"));
        let data = mount.join(&name);
        fs::create_dir(&data)?;
        fs::write(data.join("token"), token)?;
        fs::write(data.join("namespace"), "ci-tunnel")?;
        fs::copy(self.directory.path().join("ca.crt"), data.join("ca.crt"))?;
        symlink(&name, mount.join("..new"))?;
        Ok(fs::rename(mount.join("..new"), mount.join("..data"))?)
    }
}

const CONFIG: &str = "
ci_access:
  projects:
  - id: acme/plain
    default_namespace: plain-things
  - id: acme/team/shop
    access_as: { ci_job: {} }
    default_namespace: shop
  - id: acme/people
    access_as: { ci_user: {} }
  - id: acme/robots
    access_as:
      impersonate:
        username: robot
        uid: 4242-uid
        groups: [robots, 'deployers:all of them']
        extra: [{ key: example.com/Team_Name%, val: [blue, green, 'a=b c'] }]
  - id: acme/templates
    access_as:
      impersonate:
        username: 'job:{project_path}:{environment}'
        uid: '{job_id}'
        groups: ['tier:{environment_tier}', 'by:{user_login}', 'ref:{ref}']
        extra: [{ key: example.com/ref, val: ['{ref_type}/{ref}', '{agent_id}'] }]
  - id: acme/careful
    refs: [main]
    access_as: { ci_job: {} }
";
