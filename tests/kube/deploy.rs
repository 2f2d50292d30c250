//! `deploy/agent.yaml` on a real API server, and an agent that runs as the account which it makes.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ci_tunnel_tests::client::{Client, Http};
use ci_tunnel_tests::deadline::within_time;
use ci_tunnel_tests::process::binary;
use ci_tunnel_tests::tunnel::Tunnel;
use http::StatusCode;
use serde_json::Value;
use tokio::process::Command;

use crate::installed::{ACCOUNT, AGENT, Installed, MANIFEST, Mounted, refusal, whoami};

#[tokio::test]
async fn the_manifest_is_accepted_and_its_replicas_get_ready() -> Result<()> {
    let Some(installed) = Installed::get("deploy/agent.yaml").await else {
        return Ok(());
    };
    let kubectl = installed.cluster.kubectl();
    // Once more, judged strictly; warnings (of pod security, of deprecations, of unknown fields) are failures.
    let mut apply = kubectl.command([
        "apply",
        "--dry-run=server",
        "--validate=strict",
        "--warnings-as-errors",
        "-f",
        "-",
    ]);
    let mut child = apply.stdin(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("piped above")?;
    tokio::io::AsyncWriteExt::write_all(&mut stdin, MANIFEST.as_bytes()).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    let text = String::from_utf8(output.stderr)?;
    ensure!(output.status.success() && text.is_empty(), "{text}");
    let applied = String::from_utf8(output.stdout)?;
    assert_eq!(
        applied.lines().count(),
        MANIFEST.matches("\nkind: ").count(),
        "{applied}"
    );

    let rollout = [
        "rollout",
        "status",
        "deployment/ci-tunnel-agent",
        "-n",
        "ci-tunnel",
        "--timeout=60s",
    ];
    kubectl.run(rollout).await?;
    let get = [
        "get",
        "deployment/ci-tunnel-agent",
        "-n",
        "ci-tunnel",
        "-o",
        "jsonpath={.status.readyReplicas}",
    ];
    assert_eq!(kubectl.run(get).await?, "2");
    let nodes = [
        "get",
        "pods",
        "-n",
        "ci-tunnel",
        "-o",
        "jsonpath={.items[*].spec.nodeName}",
    ];
    let nodes = kubectl.run(nodes).await?;
    let mut nodes: Vec<&str> = nodes.split_whitespace().collect();
    nodes.sort_unstable();
    assert_eq!(
        nodes,
        ["node-a", "node-b"],
        "a node that fails takes one of them with it"
    );
    let allowed = [
        "wait",
        "poddisruptionbudget/ci-tunnel-agent",
        "-n",
        "ci-tunnel",
        "--for=jsonpath={.status.disruptionsAllowed}=1",
    ];
    kubectl.run(allowed).await?;
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

#[tokio::test]
async fn check_finds_all_well_in_the_pod() -> Result<()> {
    let Some(installed) = Installed::get("the agent's check").await else {
        return Ok(());
    };
    let tunnel = &installed.tunnel;
    let created: Value = serde_json::from_str(
        &tunnel
            .cli(&["agent", "token", "create", "--json", AGENT])
            .await?,
    )?;
    let text = |key: &str| created[key].as_str().context(key.to_owned());
    let (_, pin) = text("command")?.rsplit_once("--pin ").context("no pin")?;
    let url = installed.cluster.api_url();
    let (host, port) = url
        .trim_start_matches("https://")
        .rsplit_once(':')
        .context("no port")?;
    let check = async |token: &str| {
        let mut command = Command::new(binary("ci-tunnel-agent")?);
        command
            .env_clear()
            .args([
                "check",
                "--server",
                &tunnel.agents_addr().to_string(),
                "--pin",
                pin.trim(),
            ])
            .arg("--service-account-dir")
            .arg(installed.account.path())
            .envs([
                ("CI_TUNNEL_TOKEN", token),
                ("KUBERNETES_SERVICE_HOST", host),
                ("KUBERNETES_SERVICE_PORT", port),
            ])
            .kill_on_drop(true);
        let output = within_time(Duration::from_secs(30), "the check", command.output()).await??;
        Ok::<_, anyhow::Error>((output.status.code(), String::from_utf8(output.stdout)?))
    };
    // Jobs that run meanwhile do not feel it: nothing is sent to an agent that only looks.
    let job = tunnel.job_token(&["--project=acme/plain"]).await?;
    let client = tunnel.client_of(&tunnel.kubeconfig(&job, "").await?, Http::Two)?;
    let (stop, count) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let requests = tokio::spawn(ask_until(client, Arc::clone(&stop), Arc::clone(&count)));
    for _ in 0..5 {
        assert_eq!(check(text("token")?).await?.0, Some(0));
    }
    stop.store(true, Ordering::Relaxed);
    requests.await??;
    assert!(count.load(Ordering::Relaxed) > 10, "{count:?}");
    let (code, report) = check(text("token")?).await?;
    assert_eq!(code, Some(0), "{report}");
    for says in [
        "ok    server ",
        "ok    admission    the server knows the token",
        "ok    agent        id 1, ",
        "ok    API server   https://127.0.0.1:",
        "ok    clock ",
        &format!("ok    identity     the API server knows this agent as {ACCOUNT}"),
        "ok    rights       may impersonate any of users",
        "ok    rights       may impersonate any of groups",
    ] {
        assert!(report.contains(says), "no {says:?} in\n{report}");
    }
    let (code, report) = check("citagent-nobody-issued-this").await?;
    assert_eq!(code, Some(1), "{report}");
    assert!(report.contains("FAIL  admission "), "{report}");
    Ok(())
}

/// The old token is not good any more for anybody when the loop ends, and no request failed meanwhile.
#[tokio::test]
async fn a_rotated_token_is_taken_up_without_an_error() -> Result<()> {
    let Some(installed) = Installed::get("token rotation").await else {
        return Ok(());
    };
    let cluster = &installed.cluster;
    let old = std::fs::read_to_string(installed.account.path().join("token"))?;
    let job = installed
        .tunnel
        .job_token(&["--project=acme/team/shop", "--job-id=8080"])
        .await?;
    let kubeconfig = installed.tunnel.kubeconfig(&job, "").await?;
    let client = installed.tunnel.client_of(&kubeconfig, Http::Two)?;
    let (stop, count) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let requests = tokio::spawn(ask_until(client, Arc::clone(&stop), Arc::clone(&count)));

    let new = installed.account.bind(cluster, "two").await?;
    let direct = |token: &str| {
        let url = cluster.api_url();
        Client::new(
            url.trim_start_matches("https://").parse()?,
            cluster.ca_pem(),
            Http::One,
            token,
        )
    };
    // The agent looks at its files once a second; then the new token is what the API server sees.
    let as_new = credential_id(&new)?;
    cluster
        .audited(|event| {
            event.user.username == ACCOUNT && event.user.extra.get(CREDENTIAL) == Some(&as_new)
        })
        .await?;
    let rotated = count.load(Ordering::Relaxed);
    cluster
        .kubectl()
        .run(["delete", "secret", "one", "-n", "ci-tunnel"])
        .await?;
    let (old, new) = (direct(&old)?, direct(&new)?);
    let void = async {
        let mut pause = tokio::time::interval(Duration::from_millis(100));
        while old.get("/api").await?.status() != StatusCode::UNAUTHORIZED {
            pause.tick().await;
        }
        Ok::<_, anyhow::Error>(())
    };
    within_time(Duration::from_secs(40), "the old token to be void", void).await??;
    assert_eq!(new.get("/api").await?.status(), StatusCode::OK);
    let void = count.load(Ordering::Relaxed);
    let more = async {
        let mut pause = tokio::time::interval(Duration::from_millis(20));
        while count.load(Ordering::Relaxed) < void + 50 && !requests.is_finished() {
            pause.tick().await;
        }
    };
    within_time(Duration::from_secs(20), "requests with the new token", more).await?;
    stop.store(true, Ordering::Relaxed);
    requests.await??;
    println!(
        "{rotated} requests until the new token was in use, {} in all, none failed",
        count.load(Ordering::Relaxed)
    );
    Ok(())
}

async fn ask_until(client: Client, stop: Arc<AtomicBool>, count: Arc<AtomicUsize>) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let response = client.get("/api?rotation").await?;
        ensure!(response.status() == StatusCode::OK, "{response:?}");
        count.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// What the API server's audit calls a token: its id.
fn credential_id(token: &str) -> Result<Vec<String>> {
    use base64::Engine as _;
    let claims = token.split('.').nth(1).context("no JWT")?;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims)?;
    let claims: Value = serde_json::from_slice(&claims)?;
    Ok(vec![format!(
        "JTI={}",
        claims["jti"].as_str().context("no jti")?
    )])
}

const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";

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
