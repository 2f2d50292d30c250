//! The real `kubectl`, run against an address, with a home directory of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::deadline::within;
use crate::process::in_path;

/// A `kubectl` with one kubeconfig.
#[derive(Debug)]
pub struct Kubectl {
    program: PathBuf,
    home: TempDir,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Kubectl {
    /// None, said loudly, when this machine has no kubectl; an error then when `CI` is set.
    pub fn find(kubeconfig: &str) -> Result<Option<Self>> {
        let Some(program) = in_path("kubectl") else {
            ensure!(
                std::env::var_os("CI").is_none(),
                "kubectl is not in PATH: CI must not skip what needs it"
            );
            eprintln!("SKIPPED: kubectl is not in PATH");
            return Ok(None);
        };
        let home = tempfile::tempdir()?;
        std::fs::write(home.path().join("config"), kubeconfig)?;
        Ok(Some(Self { program, home }))
    }

    /// The command with these arguments, not started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.home.path().join("config"))
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    pub async fn run(&self, arguments: &[&str]) -> Result<Ran> {
        self.run_with(arguments, b"").await
    }

    /// Runs to its end with this on stdin.
    pub async fn run_with(&self, arguments: &[&str], stdin: &[u8]) -> Result<Ran> {
        let mut command = self.command(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut pipe = child.stdin.take().context("piped above")?;
        let feed = async move {
            // A command that does not read its input closes it.
            let _ = pipe.write_all(stdin).await;
        };
        let what = format!("kubectl {} to end", arguments.join(" "));
        let ((), output) = within(&what, async {
            tokio::join!(feed, child.wait_with_output())
        })
        .await?;
        let output = output?;
        Ok(Ran {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Its home directory, for files that a test hands to it.
    pub fn home(&self) -> &Path {
        self.home.path()
    }
}

impl Ran {
    /// What it printed; an error when it did not end well.
    pub fn ok(self) -> Result<String> {
        ensure!(
            self.code == Some(0),
            "kubectl ended with {:?}: {}{}",
            self.code,
            self.stdout,
            self.stderr
        );
        Ok(self.stdout)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Kubectl;
    use crate::apiserver::ApiServer;
    use crate::process::Process;

    #[tokio::test]
    async fn reads_and_writes_through_the_stand_in() -> anyhow::Result<()> {
        let api = ApiServer::start().await?;
        let Some(kubectl) = Kubectl::find(&api.kubeconfig())? else {
            return Ok(());
        };

        let pods = kubectl.run(&["get", "pods", "-A"]).await?.ok()?;
        assert!(
            pods.contains("web-0") && pods.contains("kube-system") && pods.contains("Running"),
            "{pods}"
        );
        let whoami = kubectl.run(&["auth", "whoami"]).await?.ok()?;
        assert!(
            whoami.contains("system:serviceaccount:ci-tunnel:agent"),
            "{whoami}"
        );
        assert_eq!(
            kubectl.run(&["auth", "can-i", "get", "pods"]).await?.ok()?,
            "yes\n"
        );
        assert!(
            kubectl
                .run(&["logs", "web-0"])
                .await?
                .ok()?
                .contains("listening on :8080")
        );

        let mut manifest = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"a": "1"}});
        let created = kubectl
            .run_with(&["apply", "-f", "-"], manifest.to_string().as_bytes())
            .await?
            .ok()?;
        assert_eq!(created, "configmap/one created\n");
        manifest["data"] = json!({"b": "2"});
        let changed = kubectl
            .run_with(&["apply", "-f", "-"], manifest.to_string().as_bytes())
            .await?
            .ok()?;
        assert_eq!(changed, "configmap/one configured\n");
        let data = kubectl
            .run(&["get", "cm", "one", "-o", "jsonpath={.data}"])
            .await?
            .ok()?;
        assert_eq!(data, r#"{"b":"2"}"#);
        kubectl.run(&["delete", "cm", "one"]).await?.ok()?;
        assert_ne!(kubectl.run(&["get", "cm", "one"]).await?.code, Some(0));
        Ok(())
    }

    #[tokio::test]
    async fn runs_commands_over_websocket() -> anyhow::Result<()> {
        let api = ApiServer::start().await?;
        let Some(kubectl) = Kubectl::find(&api.kubeconfig())? else {
            return Ok(());
        };
        assert_eq!(
            kubectl
                .run(&["exec", "web-0", "--", "echo", "a b", "c%2Fd+"])
                .await?
                .ok()?,
            "a b c%2Fd+\n"
        );
        let big = "line of input\n".repeat(50_000);
        let back = kubectl
            .run_with(&["exec", "-i", "web-0", "--", "cat"], big.as_bytes())
            .await?
            .ok()?;
        assert!(
            back == big,
            "{} of {} bytes came back",
            back.len(),
            big.len()
        );
        assert_eq!(
            kubectl
                .run(&["exec", "web-0", "--", "sh", "-c", "exit 3"])
                .await?
                .code,
            Some(3)
        );
        let upgrades = api
            .recorder()
            .received()
            .into_iter()
            .filter(|seen| !seen.header("upgrade").is_empty());
        for upgrade in upgrades {
            assert_eq!(upgrade.header("upgrade"), ["websocket"]);
        }
        Ok(())
    }

    #[tokio::test]
    async fn follows_watches_and_logs() -> anyhow::Result<()> {
        let api = ApiServer::start().await?;
        let Some(kubectl) = Kubectl::find(&api.kubeconfig())? else {
            return Ok(());
        };

        let mut watch = Process::start(
            "watch",
            kubectl.command(&["get", "pods", "-w"]),
            &kubectl.home().join("watch"),
        )?;
        watch
            .wait_for_line("the first pod", |line| line.contains("web-0"))
            .await?;
        let status = json!({"phase": "Pending"});
        api.put_object("pods", json!({"kind": "Pod", "metadata": {"name": "web-1", "namespace": "default"}, "status": status}));
        watch
            .wait_for_line("the new pod", |line| {
                line.contains("web-1") && line.contains("Pending")
            })
            .await?;

        // What is there already comes first, and the end of that is said.
        let phase = "--for=jsonpath={.status.phase}=Pending";
        let waited = kubectl
            .run(&["wait", phase, "pod/web-1", "--timeout=30s"])
            .await?;
        assert_eq!(waited.ok()?, "pod/web-1 condition met\n");

        let mut logs = Process::start(
            "logs",
            kubectl.command(&["logs", "-f", "web-0"]),
            &kubectl.home().join("logs"),
        )?;
        logs.wait_for_line("the log so far", |line| line == "ready")
            .await?;
        api.log_line("default", "web-0", "a line of now");
        logs.wait_for_line("the new line", |line| line == "a line of now")
            .await?;
        Ok(())
    }
}
