//! The agent's process with the account of the manifest: its check, and its token's rotation.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ci_tunnel_tests::client::{Client, Http};
use ci_tunnel_tests::cluster::AuditEvent;
use ci_tunnel_tests::deadline::within_time;
use ci_tunnel_tests::process::binary;
use http::StatusCode;
use serde_json::Value;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::interval;

use crate::installed::{ACCOUNT, AGENT, Installed, words};

/// `ci-tunnel-agent check` as it runs in the pod.
struct Check {
    server: String,
    pin: String,
    api_server: String,
    service_account: PathBuf,
}

impl Check {
    /// The exit code, and what it prints.
    async fn run(&self, token: &str) -> Result<(Option<i32>, String)> {
        let address = self.api_server.trim_start_matches("https://");
        let (host, port) = address.rsplit_once(':').context("no port")?;
        let mut command = Command::new(binary("ci-tunnel-agent")?);
        command
            .env_clear()
            .args(["check", "--server", &self.server, "--pin", &self.pin])
            .arg("--service-account-dir")
            .arg(&self.service_account)
            .env("CI_TUNNEL_TOKEN", token)
            .env("KUBERNETES_SERVICE_HOST", host)
            .env("KUBERNETES_SERVICE_PORT", port)
            .kill_on_drop(true);
        let output = within_time(Duration::from_secs(30), "the check", command.output()).await??;
        Ok((output.status.code(), String::from_utf8(output.stdout)?))
    }
}

/// A job's requests, one after the other, until they are stopped or one fails.
struct Load {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    task: JoinHandle<Result<()>>,
}

impl Load {
    async fn start(installed: &Installed, job: &[&str]) -> Result<Self> {
        let token = installed.tunnel.job_token(job).await?;
        let kubeconfig = installed.tunnel.kubeconfig(&token, "").await?;
        let client = installed.tunnel.client_of(&kubeconfig, Http::Two)?;
        let (stop, count) = (Arc::default(), Arc::default());
        let task = tokio::spawn(ask_until(client, Arc::clone(&stop), Arc::clone(&count)));
        Ok(Self { stop, count, task })
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits for so many more of them.
    async fn more(&self, wanted: usize) -> Result<()> {
        let enough = self.count() + wanted;
        let more = async {
            let mut pause = interval(Duration::from_millis(20));
            while self.count() < enough && !self.task.is_finished() {
                pause.tick().await;
            }
        };
        within_time(Duration::from_secs(20), "more requests", more).await
    }

    /// How many there were; an error if one failed.
    async fn stop(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await??;
        Ok(self.count.load(Ordering::Relaxed))
    }
}

#[tokio::test]
async fn check_finds_all_well_in_the_pod() -> Result<()> {
    let Some(installed) = Installed::get("the agent's check").await else {
        return Ok(());
    };
    let tunnel = &installed.tunnel;
    let created = tunnel.cli(&["agent", "token", "create", "--json", AGENT]);
    let created: Value = serde_json::from_str(&created.await?)?;
    let text = |key: &str| created[key].as_str().context(key.to_owned());
    let (_, pin) = text("command")?.rsplit_once("--pin ").context("no pin")?;
    let check = Check {
        server: tunnel.agents_addr().to_string(),
        pin: pin.trim().to_owned(),
        api_server: installed.cluster.api_url(),
        service_account: installed.account.path().to_owned(),
    };
    let (code, report) = check.run(text("token")?).await?;
    assert_eq!(code, Some(0), "{report}");
    for says in [
        "ok    UDP ",
        "ok    TCP ",
        "ok    transport    quic would carry requests",
        "ok    admission    the server knows the token",
        "ok    agent        id 1, ",
        "ok    API server   https://127.0.0.1:",
        "ok    clock ",
        &format!("ok    identity     the API server knows this agent as {ACCOUNT}"),
        "ok    rights       may impersonate any of users",
        "ok    rights       may impersonate any of groups",
        "ok    rights       may impersonate any of uids",
        "ok    rights       may impersonate any of userextras/",
    ] {
        assert!(report.contains(says), "no {says:?} in\n{report}");
    }
    // Jobs that run meanwhile do not feel it: nothing is sent to an agent that only looks.
    let load = Load::start(installed, &["--project=acme/plain"]).await?;
    for _ in 0..5 {
        assert_eq!(check.run(text("token")?).await?.0, Some(0));
    }
    println!("{} requests during five checks", load.stop().await?);
    let (code, report) = check.run("citagent-nobody-issued-this").await?;
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
    let job = ["--project=acme/team/shop", "--job-id=8080"];
    let load = Load::start(installed, &job).await?;
    load.more(10).await?;
    let new = installed.account.bind(cluster, "two").await?;
    // The agent looks at its files once a second; then the new token is what the API server sees.
    let as_new = Some(vec![credential_id(&new)?]);
    let in_use = |event: &AuditEvent| {
        event.user.username == ACCOUNT && event.user.extra.get(CREDENTIAL) == as_new.as_ref()
    };
    cluster.audited(in_use).await?;
    let rotated = load.count();

    let delete = words("delete secret one -n ci-tunnel");
    cluster.kubectl().run(delete).await?;
    let address = cluster.api_url();
    let address = address.trim_start_matches("https://").parse()?;
    let direct = |token: &str| Client::new(address, cluster.ca_pem(), Http::One, token);
    let (old, new) = (direct(&old)?, direct(&new)?);
    let void = async {
        let mut pause = interval(Duration::from_millis(100));
        while old.get("/api").await?.status() != StatusCode::UNAUTHORIZED {
            pause.tick().await;
        }
        Ok::<_, anyhow::Error>(())
    };
    within_time(Duration::from_secs(40), "the old token to be void", void).await??;
    assert_eq!(new.get("/api").await?.status(), StatusCode::OK);
    load.more(50).await?;
    let all = load.stop().await?;
    println!("{rotated} requests until the new token was in use, {all} in all, none failed");
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
fn credential_id(token: &str) -> Result<String> {
    use base64::Engine as _;
    let claims = token.split('.').nth(1).context("no JWT")?;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims)?;
    let claims: Value = serde_json::from_slice(&claims)?;
    let id = claims["jti"].as_str().context("no jti")?;
    Ok(format!("JTI={id}"))
}

const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";
