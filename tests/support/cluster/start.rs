//! Starts a cluster, from nothing to nodes that take pods.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use tokio::task::spawn_blocking;

use super::{
    Cluster,
    apiserver::Apiserver,
    assets::{Assets, binaries},
    component::Component,
    egress::Egress,
    flags::{self, ApiserverFiles, Ports},
    folder::Folder,
    kubectl::Kubectl,
    pki::{self, Authority, Pair},
    pods, ports,
};

pub(super) async fn cluster() -> Result<Cluster> {
    let assets = spawn_blocking(binaries)
        .await
        .context("finding the programs")??;
    let mut tries = 1;
    loop {
        match attempt(&assets).await {
            // Somebody took one of the ports between our look and the component's.
            Err(error) if tries < TRIES && format!("{error:#}").contains(PORT_TAKEN) => tries += 1,
            result => return result,
        }
    }
}

async fn attempt(assets: &Assets) -> Result<Cluster> {
    let parts = Parts::new(assets)?;
    let mut components = vec![parts.etcd().await?, parts.kubelet().await?];
    let egress = Egress::start(parts.folder.path(EGRESS_SOCKET))?;
    let apiserver = parts.apiserver()?;
    let kubectl = parts.kubectl();
    all_well(&mut components, apiserver.start(&kubectl).await)?;
    kubectl.apply(OBJECTS).await?;
    components.extend(parts.others()?);
    let ready = kubectl.run(NODES_READY).await;
    all_well(&mut components, ready)?;
    Ok(Cluster {
        apiserver,
        _egress: egress,
        _components: components,
        assets: assets.clone(),
        port: parts.ports.apiserver,
        ca_pem: parts.authority.pem,
        admin_kubeconfig: parts.admin,
        audit_log: parts.folder.path(AUDIT_LOG),
        pods: parts.folder.path(PODS),
        folder: parts.folder,
    })
}

/// What all components are made from.
struct Parts<'a> {
    assets: &'a Assets,
    folder: Folder,
    ports: Ports,
    authority: Authority,
    serving: Pair,
    token_keys: Pair,
    admin: PathBuf,
}

impl<'a> Parts<'a> {
    fn new(assets: &'a Assets) -> Result<Self> {
        let folder = Folder::new("ci-tunnel-cluster-")?;
        let [etcd, etcd_peer, apiserver, kubelet] = ports::free()?;
        let authority = Authority::new(&folder)?;
        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"];
        let mut parts = Self {
            assets,
            ports: Ports {
                etcd,
                etcd_peer,
                apiserver,
                kubelet,
            },
            serving: authority.server(&folder, "serving", &names)?,
            token_keys: pki::token_keys(&folder)?,
            admin: PathBuf::new(),
            authority,
            folder,
        };
        parts.admin = parts.kubeconfig("admin")?;
        Ok(parts)
    }

    async fn etcd(&self) -> Result<Component> {
        let mut etcd = self.spawn("etcd", &flags::etcd(&self.folder, self.ports))?;
        etcd.wait_for_line("ready to serve client requests", STEP)
            .await?;
        Ok(etcd)
    }

    fn apiserver(&self) -> Result<Apiserver> {
        let folder = &self.folder;
        let socket = folder.path(EGRESS_SOCKET);
        let egress = EGRESS.replace("@SOCKET@", &socket.to_string_lossy());
        let args = flags::apiserver(
            &ApiserverFiles {
                authority: &self.authority,
                serving: &self.serving,
                kubelet_client: &self.authority.client(folder, "kube-apiserver", ADMINS)?,
                token_keys: &self.token_keys,
                audit_policy: &folder.write("audit-policy.yaml", AUDIT_POLICY)?,
                audit_log: &folder.path(AUDIT_LOG),
                egress: &folder.write("egress.yaml", &egress)?,
            },
            self.ports,
        );
        let name = "kube-apiserver";
        let log = self.log(name)?;
        Ok(Apiserver::new(
            self.assets.bin(name),
            args,
            log,
            self.ports.apiserver,
        ))
    }

    /// Whatever needs the API server to be there.
    fn others(&self) -> Result<Vec<Component>> {
        let kubeconfig = self.kubeconfig("system:kube-controller-manager")?;
        let manager = flags::controller_manager(&kubeconfig, &self.authority, &self.token_keys);
        let scheduler = flags::scheduler(&self.kubeconfig("system:kube-scheduler")?);
        Ok(vec![
            self.spawn("kube-controller-manager", &manager)?,
            self.spawn("kube-scheduler", &scheduler)?,
            self.kwok()?,
        ])
    }

    fn kwok(&self) -> Result<Component> {
        let config = KWOK.replace("@KUBELET_PORT@", &self.ports.kubelet.to_string());
        let config = self.folder.write("kwok.yaml", &config)?;
        self.spawn("kwok", &flags::kwok(&self.kubeconfig("kwok")?, &config))
    }

    async fn kubelet(&self) -> Result<Component> {
        let pods = self.folder.subfolder(PODS)?;
        pods::log_all(&pods, "started")?;
        let args = flags::kubelet(&pods, &self.authority, &self.serving, self.ports);
        let mut kubelet = self.spawn("fake-kubelet", &args)?;
        kubelet.wait_for_line("listening", STEP).await?;
        Ok(kubelet)
    }

    fn spawn(&self, name: &'static str, args: &[String]) -> Result<Component> {
        Component::spawn(name, &self.assets.bin(name), args, self.log(name)?)
    }

    fn log(&self, name: &str) -> Result<PathBuf> {
        Ok(self.folder.subfolder("logs")?.join(format!("{name}.log")))
    }

    /// Everybody is an administrator here: the rights of the components are not what is tested.
    fn kubeconfig(&self, user: &str) -> Result<PathBuf> {
        let url = format!("https://127.0.0.1:{}", self.ports.apiserver);
        let pair = self.authority.client(&self.folder, user, ADMINS)?;
        pki::kubeconfig(&self.folder, user, (&url, &self.authority.file), &pair)
    }

    fn kubectl(&self) -> Kubectl {
        Kubectl::new(
            self.assets.bin("kubectl"),
            &self.admin,
            &self.folder.path("home"),
        )
    }
}

/// What a step came to, or rather the end of a component that explains its failure.
fn all_well<T>(components: &mut [Component], step: Result<T>) -> Result<T> {
    for component in components {
        component.check()?;
    }
    step
}

const AUDIT_POLICY: &str = include_str!("../../kubernetes/config/audit-policy.yaml");
const EGRESS: &str = include_str!("../../kubernetes/config/egress.yaml");
const KWOK: &str = include_str!("../../kubernetes/config/kwok.yaml");
const OBJECTS: &str = include_str!("../../kubernetes/config/objects.yaml");

const ADMINS: &str = "system:masters";
const AUDIT_LOG: &str = "audit.log";
const EGRESS_SOCKET: &str = "egress.sock";
const PODS: &str = "pods";

const NODES_READY: [&str; 5] = [
    "wait",
    "--for=condition=Ready",
    "node",
    "--all",
    "--timeout=60s",
];

const PORT_TAKEN: &str = "address already in use";
const STEP: Duration = Duration::from_secs(30);
const TRIES: u32 = 3;
