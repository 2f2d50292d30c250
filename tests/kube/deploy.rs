//! `deploy/agent.yaml` on a real API server, and an agent that runs as the account which it makes.

mod agent;

use anyhow::{Result, ensure};
use ci_tunnel_tests::tunnel::Tunnel;

use crate::installed::{ACCOUNT, AGENT, Installed, MANIFEST, Mounted, refusal, whoami, words};
use crate::ring::finish;

#[tokio::test]
async fn the_manifest_is_accepted_and_its_replicas_get_ready() -> Result<()> {
    let Some(installed) = Installed::get("deploy/agent.yaml").await else {
        return Ok(());
    };
    let kubectl = installed.cluster.kubectl();
    // Once more, judged strictly; warnings (of pod security, of deprecations, of unknown fields) are failures.
    let apply = "apply --dry-run=server --validate=strict --warnings-as-errors -f -";
    let output = finish(kubectl.command(words(apply)), MANIFEST.as_bytes()).await?;
    let text = String::from_utf8(output.stderr)?;
    ensure!(output.status.success() && text.is_empty(), "{text}");
    let applied = String::from_utf8(output.stdout)?;
    let objects = MANIFEST.matches("\nkind: ").count();
    assert_eq!(applied.lines().count(), objects, "{applied}");

    let run = async |line: &str| {
        kubectl
            .run([words(line), vec!["-n", "ci-tunnel"]].concat())
            .await
    };
    run("rollout status deployment/ci-tunnel-agent --timeout=60s").await?;
    let ready = "get deployment/ci-tunnel-agent -o jsonpath={.status.readyReplicas}";
    assert_eq!(run(ready).await?, "2");
    let nodes = run("get pods -o jsonpath={.items[*].spec.nodeName}").await?;
    let mut nodes = words(&nodes);
    nodes.sort_unstable();
    assert_eq!(nodes, ["node-a", "node-b"], "not all on one node");
    run("wait pdb/ci-tunnel-agent --for=jsonpath={.status.disruptionsAllowed}=1").await?;
    Ok(())
}

#[tokio::test]
async fn the_account_may_speak_as_others_and_nothing_else() -> Result<()> {
    let Some(installed) = Installed::get("least privilege").await else {
        return Ok(());
    };
    let admin = installed.cluster.kubectl();
    let identity = format!("--as={ACCOUNT}");
    let can = async |question: &[&str]| -> Result<bool> {
        let asked = [&["auth", "can-i", &identity], question].concat();
        let output = admin.output(asked).await?;
        let answer = String::from_utf8(output.stdout)?;
        match answer.trim() {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => anyhow::bail!(
                "{question:?}: {answer}{}",
                String::from_utf8_lossy(&output.stderr)
            ),
        }
    };
    for question in [
        "list pods -A",
        "get secrets -n ci-tunnel",
        "create pods -n ci-tunnel",
        "get configmaps -n kube-system",
        "create deployments.apps -n default",
        "create clusterrolebindings",
        "escalate clusterroles",
        "bind clusterroles",
        "create serviceaccounts/token -n ci-tunnel",
        "get nodes/proxy",
        "list namespaces",
        "* *",
    ] {
        let words: Vec<&str> = question.split(' ').collect();
        assert!(
            !can(&words).await?,
            "the agent's own account may {question}"
        );
    }
    for what in ["users", "groups", "serviceaccounts"] {
        assert!(
            can(&["impersonate", what]).await?,
            "the agent's account may not impersonate {what}"
        );
    }
    Ok(())
}

/// The manifest's comment: `resourceNames` bound what even a stolen server could do here.
#[tokio::test]
async fn a_narrowed_role_lets_no_other_identity_through() -> Result<()> {
    let Some(installed) = Installed::get("a narrowed role").await else {
        return Ok(());
    };
    let cluster = &installed.cluster;
    let admin = cluster.kubectl();
    admin.apply(NARROWED).await?;
    let mounted = Mounted::new(cluster)?;
    let token = admin
        .run([
            "create",
            "token",
            "narrowed",
            "-n",
            "ci-tunnel",
            "--duration=10m",
        ])
        .await?;
    mounted.put(token.trim(), "only")?;
    let config = "ci_access: { groups: [{ id: acme, access_as: { ci_job: {} } }] }";
    let tunnel = Tunnel::builder()
        .agent(AGENT, config)
        .service_account(cluster, mounted.path())
        .start()
        .await?;
    let job = async |project: &str, id: &str| -> Result<_> {
        let flags = [
            "--project",
            project,
            "--project-id",
            id,
            "--group-id=acme=9",
            "--job-id=77",
        ];
        let token = tunnel.job_token(&flags).await?;
        tunnel.kubectl(&tunnel.kubeconfig(&token, "").await?)
    };
    let who = whoami(&job("acme/shop", "42").await?).await?;
    assert_eq!(who["groups"][2], "gitlab:project:42", "{who}");
    let text = refusal(
        &job("acme/evil", "43").await?,
        &["get", "--raw", "/api/v1/namespaces/default/pods"],
    )
    .await?;
    let says = "groups \"gitlab:project:43\" is forbidden: User \"system:serviceaccount:ci-tunnel:narrowed\" cannot impersonate";
    assert!(text.contains(says), "{text}");
    Ok(())
}

const NARROWED: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: { name: narrowed, namespace: ci-tunnel }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: narrowed }
rules:
- apiGroups: ['']
  resources: [users]
  verbs: [impersonate]
- apiGroups: ['']
  resources: [groups]
  verbs: [impersonate]
  resourceNames: ['gitlab:ci_job', 'gitlab:group:9', 'gitlab:project:42']
- apiGroups: [authentication.k8s.io]
  resources: ['*']
  verbs: [impersonate]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: narrowed }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: narrowed }
subjects: [{ kind: ServiceAccount, name: narrowed, namespace: ci-tunnel }]
";
