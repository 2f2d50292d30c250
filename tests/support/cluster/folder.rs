//! A temporary folder, removed however the test process ends.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};

/// Holds everything that a cluster, or a tunnel, writes.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    janitor: Child,
}

impl Folder {
    /// `prefix` begins its name.
    pub(crate) fn new(prefix: &str) -> Result<Self> {
        let root = tempfile::Builder::new()
            .prefix(prefix)
            .tempdir()
            .context("making a folder")?
            .keep();
        let janitor = janitor(&root)?;
        Ok(Self { root, janitor })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn subfolder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(path)
    }

    pub(crate) fn write(&self, name: &str, contents: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, contents).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        // Nothing is left to do about a janitor that cannot be waited for.
        let _ = self.janitor.wait();
    }
}

/// A shell that waits for its standard input to close, as it does when we are gone, and then
/// removes `root`: a static is never dropped, and a killed process drops nothing.
fn janitor(root: &Path) -> Result<Child> {
    Command::new("sh")
        .args(["-c", JANITOR, "janitor"])
        .arg(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Not ours, or a Ctrl-C in the terminal would end it before its work begins.
        .process_group(0)
        .spawn()
        .context("starting a folder's janitor")
}

/// Tries for some seconds, as the components may still write while they are being killed.
const JANITOR: &str = r#"
read -r _
tries=0
until rm -rf -- "$1" || [ "$tries" -ge 100 ]; do
  tries=$((tries + 1))
  sleep 0.1
done
"#;
