//! A job's script, run as a CI system's runner does: in a shell, with an environment of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use ci_tunnel_tests::cluster::binaries;
use ci_tunnel_tests::deadline::within_time;
use serde_json::Value;
use tokio::process::Command;

/// How a script ended, and what it wrote.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Ran {
    pub(super) fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// A file of `docs/ci/`, document by document.
pub(super) fn documents(file: &str) -> Result<Vec<Value>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs/ci")
        .join(file);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    assert!(text.lines().count() < 40, "{file} is to be short");
    let documents = serde_yaml::Deserializer::from_str(&text);
    let read = |document| Ok(serde::Deserialize::deserialize(document)?);
    documents.map(read).collect()
}

/// The shells of the usual images that are here: bash, Debian's and Alpine's `sh`.
pub(super) fn shells() -> Vec<Vec<&'static str>> {
    let all = [
        vec!["bash", "-eo", "pipefail"],
        vec!["dash", "-e"],
        vec!["busybox", "sh", "-e"],
    ];
    let is_here = |shell: &Vec<&'static str>| ci_tunnel_tests::process::in_path(shell[0]).is_some();
    all.into_iter().filter(is_here).collect()
}

/// Runs `script` to its end. `kubectl` and `helm` are those of the test cluster.
pub(super) async fn run(
    shell: &[&str],
    script: &str,
    home: &Path,
    variables: &[(&str, String)],
) -> Result<Ran> {
    let mut command = Command::new(shell[0]);
    command
        .args(&shell[1..])
        .args(["-c", script])
        .env_clear()
        .env("PATH", path()?)
        .env("HOME", home)
        .env("CURL_CA_BUNDLE", home.join("ca.pem"))
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .current_dir(home)
        .kill_on_drop(true);
    let output = within_time(LONGEST, "a job's script to end", command.output()).await??;
    Ok(Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn path() -> Result<OsString> {
    let kubectl = binaries()?.bin("kubectl");
    let folder: PathBuf = kubectl.parent().context("a program is in a folder")?.into();
    let known = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(
        std::iter::once(folder).chain(std::env::split_paths(&known)),
    )?)
}

const LONGEST: Duration = Duration::from_secs(60);
