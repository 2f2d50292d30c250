//! The command line of each component.

use std::path::Path;

use super::{
    folder::Folder,
    pki::{Authority, Pair},
};

/// The ports of 127.0.0.1 that the components listen on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) etcd: u16,
    pub(super) etcd_peer: u16,
    pub(super) apiserver: u16,
    pub(super) kubelet: u16,
}

pub(super) fn etcd(folder: &Folder, ports: Ports) -> Vec<String> {
    let client = format!("http://127.0.0.1:{}", ports.etcd);
    let peer = format!("http://127.0.0.1:{}", ports.etcd_peer);
    vec![
        flag("data-dir", folder.path("etcd").display()),
        flag("listen-client-urls", &client),
        flag("advertise-client-urls", &client),
        flag("listen-peer-urls", &peer),
        flag("initial-advertise-peer-urls", &peer),
        flag("initial-cluster", format_args!("default={peer}")),
        // Nothing here has to survive a power cut.
        flag("unsafe-no-fsync", true),
    ]
}

/// The files that `kube-apiserver` reads.
#[derive(Debug)]
pub(super) struct ApiserverFiles<'a> {
    pub(super) authority: &'a Authority,
    pub(super) serving: &'a Pair,
    pub(super) kubelet_client: &'a Pair,
    pub(super) token_keys: &'a Pair,
    pub(super) audit_policy: &'a Path,
    pub(super) audit_log: &'a Path,
    pub(super) egress: &'a Path,
}

pub(super) fn apiserver(files: &ApiserverFiles<'_>, ports: Ports) -> Vec<String> {
    let ca = files.authority.file.display();
    vec![
        flag("bind-address", "127.0.0.1"),
        flag("secure-port", ports.apiserver),
        flag(
            "etcd-servers",
            format_args!("http://127.0.0.1:{}", ports.etcd),
        ),
        flag("tls-cert-file", files.serving.cert.display()),
        flag("tls-private-key-file", files.serving.key.display()),
        flag("client-ca-file", &ca),
        flag("anonymous-auth", false),
        flag("authorization-mode", "Node,RBAC"),
        flag(
            "service-account-issuer",
            "https://kubernetes.default.svc.cluster.local",
        ),
        flag("service-account-key-file", files.token_keys.cert.display()),
        flag(
            "service-account-signing-key-file",
            files.token_keys.key.display(),
        ),
        flag("service-cluster-ip-range", "10.96.0.0/16"),
        // 127.0.0.1 may not be an endpoint, so the `kubernetes` service has none.
        flag("advertise-address", "127.0.0.1"),
        flag("endpoint-reconciler-type", "none"),
        flag("kubelet-certificate-authority", &ca),
        flag(
            "kubelet-client-certificate",
            files.kubelet_client.cert.display(),
        ),
        flag("kubelet-client-key", files.kubelet_client.key.display()),
        flag("kubelet-preferred-address-types", "InternalIP"),
        flag("egress-selector-config-file", files.egress.display()),
        flag("audit-policy-file", files.audit_policy.display()),
        flag("audit-log-path", files.audit_log.display()),
        // An event is in the log before the caller has its answer.
        flag("audit-log-mode", "blocking-strict"),
        flag("event-ttl", "10m"),
        flag("allow-privileged", true),
    ]
}

pub(super) fn controller_manager(
    kubeconfig: &Path,
    authority: &Authority,
    token_keys: &Pair,
) -> Vec<String> {
    vec![
        flag("kubeconfig", kubeconfig.display()),
        flag("leader-elect", false),
        flag("secure-port", 0),
        flag("root-ca-file", authority.file.display()),
        flag("service-account-private-key-file", token_keys.key.display()),
        // The default of 20 requests a second makes many namespaces at once slow.
        flag("kube-api-qps", 300),
        flag("kube-api-burst", 600),
    ]
}

pub(super) fn scheduler(kubeconfig: &Path) -> Vec<String> {
    vec![
        flag("kubeconfig", kubeconfig.display()),
        flag("leader-elect", false),
        flag("secure-port", 0),
        flag("kube-api-qps", 300),
        flag("kube-api-burst", 600),
    ]
}

pub(super) fn kwok(kubeconfig: &Path, config: &Path) -> Vec<String> {
    vec![
        flag("kubeconfig", kubeconfig.display()),
        flag("config", config.display()),
        flag("manage-all-nodes", true),
        // Held as real kubelets do, or the controllers call the nodes lost after some seconds.
        flag("node-lease-duration-seconds", 40),
        flag("cidr", "10.244.0.1/16"),
        flag("node-ip", "127.0.0.1"),
    ]
}

pub(super) fn kubelet(
    pods: &Path,
    authority: &Authority,
    serving: &Pair,
    ports: Ports,
) -> Vec<String> {
    vec![
        flag("address", format_args!("127.0.0.1:{}", ports.kubelet)),
        flag("tls-cert-file", serving.cert.display()),
        flag("tls-private-key-file", serving.key.display()),
        flag("client-ca-file", authority.file.display()),
        flag("pods", pods.display()),
    ]
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}
