//! Who the agents are in a cluster, and rights for those that they act as.

use anyhow::Result;
use serde_json::json;

use crate::apiserver::kubeconfig;
use crate::cluster::Cluster;

/// A service account of the agents' own: it may act as anybody, and by itself do what the role `edit` allows.
#[derive(Debug)]
pub struct Account {
    token: String,
}

impl Account {
    /// Makes the account, or takes the one that is there, and a token for it.
    pub async fn create(cluster: &Cluster) -> Result<Self> {
        let kubectl = cluster.kubectl();
        kubectl.apply(ACCOUNT).await?;
        let create = ["create", "token", "agent", "-n", "harness", "--duration=2h"];
        let token = kubectl.run(create).await?;
        Ok(Self {
            token: token.trim().to_owned(),
        })
    }

    /// Its bearer token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A kubeconfig that reaches `cluster` as this account.
    pub fn kubeconfig(&self, cluster: &Cluster) -> String {
        kubeconfig(&cluster.api_url(), cluster.ca_pem(), &self.token)
    }

    /// What the API server calls it.
    pub const NAME: &'static str = "system:serviceaccount:harness:agent";
}

/// Binds the cluster role `role` to a group, in every namespace.
pub async fn grant(cluster: &Cluster, group: &str, role: &str) -> Result<()> {
    let name: String = format!("{role}-{group}").replace([':', '/'], "-");
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name.to_lowercase()},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
    });
    cluster
        .kubectl()
        .apply(&binding.to_string())
        .await
        .map(drop)
}

/// Names that no other manifest has: the shipped one is installed in the same cluster.
const ACCOUNT: &str = r#"
apiVersion: v1
kind: Namespace
metadata: { name: harness }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: agent, namespace: harness }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: harness-agent }
rules:
- apiGroups: ["", authentication.k8s.io]
  resources: ["*"]
  verbs: [impersonate]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: harness-agent }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: harness-agent }
subjects: [{ kind: ServiceAccount, name: agent, namespace: harness }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: harness-agent-edit }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit }
subjects: [{ kind: ServiceAccount, name: agent, namespace: harness }]
"#;
