//! Disks that are full.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ci_tunnel_tests::client::Http;
use ci_tunnel_tests::deadline::{within, within_time};
use ci_tunnel_tests::process::{Process, binary};
use tokio::process::Command;

use crate::rig::Rig;

mod audit;

const FULL: &str = "audit: { output: { file: /dev/full }, on_failure: FAILURE }";

#[tokio::test]
async fn the_audits_when_lines_are_counted() -> Result<()> {
    let rig = Rig::with(&FULL.replace("FAILURE", "count"), "").await?;
    for _ in 0..50 {
        assert_eq!(rig.client(Http::Two)?.get("/small").await?.status(), 200);
    }
    rig.tunnel
        .server()
        .wait_for_line("the problem in the log", |line| {
            line.contains("audit lines can not be written")
        })
        .await?;
    Ok(())
}

#[tokio::test]
async fn the_audits_when_requests_are_refused() -> Result<()> {
    let rig = Rig::with(&FULL.replace("FAILURE", "refuse"), "").await?;
    let client = rig.client(Http::Two)?;
    // The first finds out.
    let refused = async {
        loop {
            let response = client.get("/small").await?;
            if response.status() != 200 {
                return anyhow::Ok(response);
            }
        }
    };
    let response = within("a refusal", refused).await??;
    let text = String::from_utf8(response.body().to_vec())?;
    assert_eq!(response.status(), 503, "{text}");
    ensure!(
        text.contains("audit") && response.headers().contains_key("retry-after"),
        "{text}"
    );
    Ok(())
}

/// A server whose state lies on a disk of its own that fills up, and is freed.
#[tokio::test]
async fn the_stores() -> Result<()> {
    let files = tempfile::tempdir()?;
    let Some(private) =
        Private::start(files.path(), "state", "audit: { output: stdout }\n").await?
    else {
        return Ok(());
    };
    let create = async |name| private.server(&["agent", "create", name, "--json"]).await;
    let (ok, text) = create("acme/infra:one").await?;
    ensure!(ok, "{text}");
    // The small disk, and no other.
    private.shell("stat -f -c %T state | grep -q tmpfs").await?;
    private
        .shell("dd if=/dev/zero of=state/filler bs=4k count=1024 2>/dev/null; test -s state/filler")
        .await?;
    let (ok, text) = create("acme/infra:two").await?;
    println!("full disk: {text}");
    ensure!(!ok && text.contains("full"), "{text}");
    let (ok, text) = private.server(&["agent", "list"]).await?;
    ensure!(
        ok && text.contains("acme/infra:one") && !text.contains("acme/infra:two"),
        "{text}"
    );
    private.shell("rm state/filler").await?;
    let (ok, text) = create("acme/infra:two").await?;
    ensure!(ok, "{text}");
    Ok(())
}

/// A server in a mount namespace of its own, with a small disk for its state that nobody else sees.
struct Private {
    server: Process,
    root: std::path::PathBuf,
    /// Where it listens.
    serving: serde_json::Value,
}

impl Private {
    /// With a disk of 2 MiB at `disk`. `None`, said aloud, where there is no right to mount.
    async fn start(root: &std::path::Path, disk: &str, yaml: &str) -> Result<Option<Self>> {
        let may = Command::new("unshare")
            .args(["-m", "true"])
            .stderr(Stdio::null())
            .status()
            .await;
        if !may.is_ok_and(|status| status.success()) {
            ensure!(std::env::var_os("CI").is_none(), "CI must be able to mount");
            eprintln!("SKIPPED a full disk: no right to `unshare -m`");
            return Ok(None);
        }
        for folder in ["state", disk] {
            std::fs::create_dir_all(root.join(folder))?;
        }
        let common = "state_dir: state\nlog: { format: json }\nkubernetes_api: { listen: 127.0.0.1:0 }\n\
                      agents: { listen: 127.0.0.1:0 }\nops: { listen: 127.0.0.1:0 }\n";
        std::fs::write(root.join("server.yaml"), format!("{common}{yaml}"))?;
        let mut command = Command::new("unshare");
        let script = format!(
            "mount -t tmpfs -o size=2m tmpfs {disk} && exec \"$0\" --config server.yaml serve"
        );
        command
            .args(["-m", "sh", "-c", &script])
            .arg(binary("ci-tunnel-server")?)
            .current_dir(root);
        let mut server = Process::start("server", command, &root.join("log"))?;
        let serving = server
            .wait_for_line("the start", |line| line.contains("\"serving\""))
            .await?;
        Ok(Some(Self {
            server,
            root: root.to_owned(),
            serving: serde_json::from_str(&serving)?,
        }))
    }

    /// A command line of the server's program, beside the one that serves.
    async fn server(&self, arguments: &[&str]) -> Result<(bool, String)> {
        let mut command = self.inside()?;
        command
            .arg(binary("ci-tunnel-server")?)
            .args(["--config", "server.yaml"])
            .args(arguments);
        let output = within_time(
            Duration::from_secs(30),
            "the command line",
            command.output(),
        )
        .await??;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8(text)?))
    }

    async fn shell(&self, script: &str) -> Result<()> {
        let status = self.inside()?.args(["sh", "-c", script]).status().await?;
        ensure!(status.success(), "{script}: {status}");
        Ok(())
    }

    fn inside(&self) -> Result<Command> {
        let id = self.server.id().context("the server has ended")?;
        let mut command = Command::new("nsenter");
        let script = "cd \"$0\" && exec \"$@\"";
        command
            .args(["-m", "-t", &id.to_string(), "sh", "-c", script])
            .arg(&self.root)
            .kill_on_drop(true);
        Ok(command)
    }
}
