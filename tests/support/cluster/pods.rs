//! Pods from behind: where their files are, and what they log.
//!
//! A pod's ports need nothing: `kubectl port-forward` to port N of any pod, and the API server's
//! proxy to it, reach port N of 127.0.0.1.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::json;

use super::Cluster;

impl Cluster {
    /// The folder that the commands of `kubectl exec` run in, and that the relative paths of
    /// `kubectl cp` begin at.
    pub fn pod_files(&self, namespace: &str, pod: &str) -> Result<PathBuf> {
        let files = self.pods.join(namespace).join(pod).join("files");
        fs::create_dir_all(&files).with_context(|| format!("making {}", files.display()))?;
        Ok(files)
    }

    /// Appends a line to what the pod logs. A pod that never got one logs what all such pods do,
    /// [`Self::log_all`].
    pub fn log(&self, namespace: &str, pod: &str, text: &str) -> Result<()> {
        append(&self.pods.join(namespace).join(pod).join("log"), text)
    }

    /// Appends a line to the log of every pod that has none of its own.
    pub fn log_all(&self, text: &str) -> Result<()> {
        log_all(&self.pods, text)
    }

    /// Creates a namespace whose name begins with `prefix`, ready for pods.
    pub async fn namespace(&self, prefix: &str) -> Result<String> {
        let kubectl = self.kubectl();
        let object = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"generateName": format!("{prefix}-")},
        });
        let create = ["create", "-f", "-", "-o", "jsonpath={.metadata.name}"];
        let name = kubectl
            .run_with(create, object.to_string().as_bytes())
            .await?;
        // No pod is admitted before its service account is there.
        let account = [
            "wait",
            "--for=create",
            "serviceaccount/default",
            "--timeout=60s",
            "-n",
        ];
        kubectl
            .run(account.into_iter().chain([name.as_str()]))
            .await?;
        Ok(name)
    }
}

pub(super) fn log_all(pods: &Path, text: &str) -> Result<()> {
    append(&pods.join("all").join("log"), text)
}

/// Appends a line as container runtimes write it.
fn append(log: &Path, text: &str) -> Result<()> {
    let folder = log.parent().context("a log is in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let line = format!("{} stdout F {text}\n", Timestamp::now());
    File::options()
        .create(true)
        .append(true)
        .open(log)
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .with_context(|| format!("appending to {}", log.display()))
}
