//! A bare repository that a test commits to.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use tokio::io::AsyncWriteExt as _;

use super::git;
use crate::deadline::within;

/// A repository on the host.
#[derive(Debug)]
pub struct Repository {
    path: PathBuf,
}

impl Repository {
    /// Its default branch is `main`, until it is another.
    pub(super) async fn open(path: PathBuf) -> Result<Self> {
        let repository = Self { path };
        if !repository.path.exists() {
            std::fs::create_dir_all(&repository.path)?;
            repository
                .run(&["init", "--quiet", "--bare", "--initial-branch=main"], "")
                .await?;
            repository
                .run(&["config", "uploadpack.allowFilter", "true"], "")
                .await?;
        }
        Ok(repository)
    }

    /// A commit on `branch` whose tree holds the file of each of these agents; its id.
    pub async fn commit(&self, branch: &str, files: &[(&str, &str)]) -> Result<String> {
        let entries: Vec<_> = files
            .iter()
            .map(|(name, content)| {
                (
                    "100644",
                    format!(".gitlab/agents/{name}/config.yaml"),
                    *content,
                )
            })
            .collect();
        let mut entries: Vec<_> = entries
            .iter()
            .map(|(mode, path, content)| (*mode, path.as_str(), *content))
            .collect();
        entries.push(("100644", "src/main.rs", "fn main() {}\n"));
        self.commit_entries(branch, &entries).await
    }

    /// A commit whose tree is these modes, paths and contents.
    pub async fn commit_entries(
        &self,
        branch: &str,
        entries: &[(&str, &str, &str)],
    ) -> Result<String> {
        let mut stream = format!(
            "commit refs/heads/{branch}\ncommitter t <t@example.com> 0 +0000\ndata 1\nx\nfrom refs/heads/{branch}^0\ndeleteall\n"
        );
        if self
            .run(
                &[
                    "rev-parse",
                    "--verify",
                    "--quiet",
                    &format!("refs/heads/{branch}"),
                ],
                "",
            )
            .await
            .is_err()
        {
            stream = stream.replace(&format!("from refs/heads/{branch}^0\n"), "");
        }
        for (mode, path, content) in entries {
            stream.push_str(&format!(
                "M {mode} inline {path}\ndata {}\n{content}\n",
                content.len()
            ));
        }
        self.run(&["fast-import", "--quiet", "--force"], &stream)
            .await?;
        let commit = self
            .run(&["rev-parse", &format!("refs/heads/{branch}")], "")
            .await?;
        Ok(commit.trim().to_owned())
    }

    /// Makes another branch the default.
    pub async fn set_default_branch(&self, branch: &str) -> Result<()> {
        let target = format!("refs/heads/{branch}");
        self.run(&["symbolic-ref", "HEAD", &target], "")
            .await
            .map(drop)
    }

    /// Makes branches of `commit`.
    pub async fn branches(&self, commit: &str, names: impl Iterator<Item = String>) -> Result<()> {
        let create = |name| format!("create refs/heads/{name} {commit}\n");
        let stream: String = names.map(create).collect();
        self.run(&["update-ref", "--stdin"], &stream)
            .await
            .map(drop)
    }

    async fn run(&self, arguments: &[&str], input: &str) -> Result<String> {
        let what = format!("git {}", arguments.join(" "));
        let mut child = git()
            .arg("-C")
            .arg(&self.path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("git")?;
        let mut stdin = child.stdin.take().expect("piped above");
        stdin.write_all(input.as_bytes()).await?;
        drop(stdin);
        let output = within(&what, child.wait_with_output()).await??;
        ensure!(
            output.status.success(),
            "{what}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }
}
