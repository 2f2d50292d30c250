//! A real Kubernetes control plane for tests: etcd, kube-apiserver, kube-controller-manager,
//! kube-scheduler, kwok playing two nodes, and a stand-in for their kubelets, so that the pods
//! can be logged, executed in, attached to, forwarded and proxied to.
//!
//! The programs come from `tests/kubernetes/build.sh`. Everything listens on 127.0.0.1 and dies
//! with the test process, however that ends.

use std::{
    io::{Write, stderr},
    path::{Path, PathBuf},
};

use anyhow::{Result, anyhow};
use tokio::sync::OnceCell;

mod apiserver;
mod assets;
mod audit;
pub(crate) mod component;
mod egress;
mod flags;
pub(crate) mod folder;
mod kubectl;
mod pki;
mod pods;
mod ports;
mod start;

pub use self::{
    assets::{Assets, Missing, binaries},
    audit::{AuditEvent, AuditStatus, AuditUser},
    kubectl::Kubectl,
};

/// A running cluster. Dropping it kills its processes and removes its files.
#[derive(Debug)]
pub struct Cluster {
    // In the order they are to end: the folder last, when nobody writes to it any more.
    apiserver: apiserver::Apiserver,
    _components: Vec<component::Component>,
    _egress: egress::Egress,
    assets: Assets,
    port: u16,
    ca_pem: String,
    admin_kubeconfig: PathBuf,
    audit_log: PathBuf,
    pods: PathBuf,
    folder: folder::Folder,
}

impl Cluster {
    /// Starts a cluster of one's own, for tests that break it. Ready for pods when it returns.
    pub async fn start() -> Result<Self> {
        start::cluster().await
    }

    /// The cluster that the tests of this process share, started by the first to ask. Tests keep
    /// apart by namespace.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<Result<Cluster, String>> = OnceCell::const_new();
        // A failure is kept: each test of a process would wait for the same one again.
        let start = async || Self::start().await.map_err(|error| format!("{error:#}"));
        let shared = SHARED.get_or_init(start).await;
        shared.as_ref().map_err(|error| anyhow!("{error}"))
    }

    /// The shared cluster, or `None` where there can be none and that is no failure: then
    /// `test` is said aloud to be skipped. Panics on failures.
    pub async fn shared_or_skip(test: &str) -> Option<&'static Self> {
        if Self::is_to_be_skipped(test).await {
            return None;
        }
        Some(Self::shared().await.expect("the shared cluster starts"))
    }

    /// Whether there can be no cluster here and that is no failure; then `test` is said aloud to
    /// be skipped.
    pub async fn is_to_be_skipped(test: &str) -> bool {
        match tokio::task::spawn_blocking(binaries).await {
            Ok(Err(missing)) if missing.may_skip() => {
                // Not `eprintln`, which is shown for failed tests only.
                let _ = writeln!(stderr(), "SKIPPED {test}: {missing}");
                true
            }
            _ => false,
        }
    }

    /// `kubectl` as cluster administrator.
    pub fn kubectl(&self) -> Kubectl {
        let program = self.bin("kubectl");
        Kubectl::new(program, &self.admin_kubeconfig, &self.folder.path("home"))
    }

    /// `helm` as cluster administrator.
    pub fn helm(&self) -> Kubectl {
        let program = self.bin("helm");
        Kubectl::new(program, &self.admin_kubeconfig, &self.folder.path("home"))
    }

    /// A kubeconfig of the cluster administrator, speaking to the API server directly.
    pub fn admin_kubeconfig(&self) -> &Path {
        &self.admin_kubeconfig
    }

    /// `https://127.0.0.1:PORT`.
    pub fn api_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The authority that signed the API server's certificate.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The folder of the components' logs, for a failing test to show.
    pub fn logs(&self) -> PathBuf {
        self.folder.path("logs")
    }

    /// One of the cluster's programs: `kubectl`, `helm`, `etcd`, `kwok`, `kube-*`.
    pub fn bin(&self, name: &str) -> PathBuf {
        self.assets.bin(name)
    }
}
