//! The cluster that the demo works in: one that was given, a real one of its own, or the stand-in.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use ci_tunnel_tests::apiserver::ApiServer;
use ci_tunnel_tests::cluster::Cluster;
use ci_tunnel_tests::process::in_path;
use ci_tunnel_tests::tunnel::Account;

use crate::shell::say;

/// Where the demo works.
#[derive(Debug)]
pub(crate) enum Place {
    /// Somebody's cluster, with `kubectl` of the machine.
    Given { names: Names, kubectl: PathBuf },
    /// A control plane started for the demo.
    Real { cluster: Box<Cluster> },
    /// An API server that pretends.
    StandIn { api: ApiServer, kubectl: PathBuf },
}

/// What the demo calls its things; in somebody's cluster nothing else may have these names.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) namespace: String,
    pub(crate) project_id: u64,
}

impl Place {
    /// As the environment says: `KUBECONFIG`, else `DEMO_CLUSTER=real` or `stand-in`, else the best that is there at once.
    pub(crate) async fn choose() -> Result<Self> {
        let wish = std::env::var("DEMO_CLUSTER").unwrap_or_default();
        let given = std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty());
        match wish.as_str() {
            "" if given => Self::given(),
            "" if is_built() => Self::real().await,
            "" => Self::stand_in(WHY_STAND_IN).await,
            "real" => Self::real().await,
            "stand-in" => Self::stand_in("DEMO_CLUSTER asks for it").await,
            _ => bail!("DEMO_CLUSTER is {wish:?}: it can be `real` or `stand-in`"),
        }
    }

    fn given() -> Result<Self> {
        say(
            "Cluster: the one that your KUBECONFIG names. The demo keeps to a namespace of its own and removes it.",
        );
        let unique = std::process::id();
        let names = Names {
            namespace: format!("ci-tunnel-demo-{unique}"),
            project_id: 900_000_000 + u64::from(unique),
        };
        Ok(Self::Given {
            names,
            kubectl: kubectl()?,
        })
    }

    async fn real() -> Result<Self> {
        if !is_built() {
            say("Building Kubernetes for the demo's cluster: about ten minutes, once.");
        }
        say(
            "Cluster: a real Kubernetes control plane, started for this (its nodes and pods are simulated by kwok).",
        );
        let cluster = Box::new(Cluster::start().await.context("starting a cluster")?);
        Ok(Self::Real { cluster })
    }

    async fn stand_in(why: &str) -> Result<Self> {
        say(&format!(
            "Cluster: a stand-in that answers like an API server, not a Kubernetes ({why})."
        ));
        Ok(Self::StandIn {
            api: ApiServer::start().await?,
            kubectl: kubectl()?,
        })
    }

    pub(crate) fn names(&self) -> Names {
        match self {
            Self::Given { names, .. } => names.clone(),
            _ => Names {
                namespace: "shop".to_owned(),
                project_id: 7,
            },
        }
    }

    /// The directory of the `kubectl` that fits.
    pub(crate) fn programs(&self) -> Option<PathBuf> {
        let kubectl = match self {
            Self::Real { cluster } => cluster.bin("kubectl"),
            Self::Given { kubectl, .. } | Self::StandIn { kubectl, .. } => kubectl.clone(),
        };
        kubectl.parent().map(Path::to_owned)
    }

    /// A kubeconfig of the cluster's administrator.
    pub(crate) fn admin_kubeconfig(&self) -> Result<String> {
        match self {
            Self::Given { kubectl, .. } => flattened(kubectl),
            Self::Real { cluster } => Ok(std::fs::read_to_string(cluster.admin_kubeconfig())?),
            Self::StandIn { api, .. } => Ok(api.kubeconfig()),
        }
    }

    /// A kubeconfig for the agent.
    pub(crate) async fn agent_kubeconfig(&self) -> Result<String> {
        match self {
            Self::Real { cluster } => Ok(Account::create(cluster).await?.kubeconfig(cluster)),
            _ => self.admin_kubeconfig(),
        }
    }

    /// Has the pod log a line, where pods do not do so by themselves.
    pub(crate) fn log(&self, pod: &str, line: &str) -> Result<()> {
        let namespace = self.names().namespace;
        match self {
            Self::Given { .. } => Ok(()),
            Self::Real { cluster } => cluster.log(&namespace, pod, line),
            Self::StandIn { api, .. } => {
                api.log_line(&namespace, pod, line);
                Ok(())
            }
        }
    }
}

/// Whether a cluster can be started without building its programs first.
fn is_built() -> bool {
    build("--check")
        .status()
        .is_ok_and(|status| status.success())
}

fn build(argument: &str) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kubernetes/build.sh");
    let mut command = Command::new("bash");
    command
        .arg(script)
        .arg(argument)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// `kubectl` of this machine, else one that is built for it.
fn kubectl() -> Result<PathBuf> {
    if let Some(found) = in_path("kubectl") {
        return Ok(found);
    }
    say("There is no kubectl on this machine: building one, which takes some minutes, once.");
    let output = build("--only=kubectl")
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .output()
        .context("running bash")?;
    ensure!(
        output.status.success(),
        "kubectl could not be built: install it, or Go to build it with"
    );
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(Path::new(&folder).join("kubectl"))
}

/// The current context of the user's kubeconfig, with all files inlined.
fn flattened(kubectl: &Path) -> Result<String> {
    let output = Command::new(kubectl)
        .args(["config", "view", "--raw", "--flatten", "--minify"])
        .stdin(Stdio::null())
        .output()
        .context("running kubectl")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "KUBECONFIG is of no use: {}",
        said.trim()
    );
    Ok(String::from_utf8(output.stdout)?)
}

const WHY_STAND_IN: &str = "a real one has to be built first: DEMO_CLUSTER=real does it, in about ten minutes, \
                            and KUBECONFIG=... takes yours";

/// What the demo made in somebody's cluster; removed when dropped, however the demo ends.
#[derive(Debug)]
pub(crate) struct Leftovers<'a> {
    place: &'a Place,
    kubeconfig: PathBuf,
}

impl<'a> Leftovers<'a> {
    /// `folder` holds `admin.kubeconfig`.
    pub(crate) fn of(place: &'a Place, folder: &Path) -> Self {
        let kubeconfig = folder.join("admin.kubeconfig");
        Self { place, kubeconfig }
    }
}

impl Drop for Leftovers<'_> {
    fn drop(&mut self) {
        // The other clusters end with the demo.
        let Place::Given { names, kubectl } = self.place else {
            return;
        };
        let namespace = &names.namespace;
        for object in [
            format!("namespace/{namespace}"),
            format!("clusterrolebinding/{namespace}-ci"),
        ] {
            let deleted = Command::new(kubectl)
                .arg("--kubeconfig")
                .arg(&self.kubeconfig)
                .args([
                    "delete",
                    "--ignore-not-found",
                    "--wait=false",
                    "--request-timeout=20s",
                    &object,
                ])
                .stdin(Stdio::null())
                .status();
            if !deleted.is_ok_and(|status| status.success()) {
                eprintln!("Could not be removed from the cluster: {object}");
            }
        }
    }
}
