//! A host of git repositories, over HTTPS with a password and over SSH with a key: the real `git`, served as hosts serve it.
//!
//! A test commits to its repositories, and can have it hang or refuse as hosts do when they are ill.

mod https;
mod repository;
mod ssh;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::cluster::folder::Folder;
use crate::deadline::within;
use crate::pki::Authority;

/// A running host.
#[derive(Debug)]
pub struct GitHost {
    folder: Folder,
    https: SocketAddr,
    ssh: SocketAddr,
    state: Arc<State>,
    _servers: JoinSet<()>,
}

/// What its two servers share.
#[derive(Debug)]
struct State {
    /// Holds `<project path>.git`.
    root: PathBuf,
    mood: Mutex<Mood>,
}

/// What is wrong with it.
#[derive(Debug, Default)]
struct Mood {
    /// Connections are closed at once.
    down: bool,
    /// Knows the first version of git's protocol alone, over SSH.
    old: bool,
    /// Requests for these projects are never answered.
    hung: HashSet<String>,
    /// Requests so far, by the path that they name.
    asked: Vec<String>,
}

impl GitHost {
    /// The name that clients log in with over HTTPS.
    pub const USER: &'static str = "bot";
    /// And its password.
    pub const PASSWORD: &'static str = "glpat-s3cret";

    pub async fn start() -> Result<Self> {
        let folder = Folder::new("ci-tunnel-githost-")?;
        let state = Arc::new(State {
            root: folder.subfolder("repositories")?,
            mood: Mutex::default(),
        });
        let authority = Authority::new("git host")?;
        folder.write("ca.pem", &authority.ca_pem())?;
        for name in ["host_key", "client_key", "other_key"] {
            keygen(&folder.path(name)).await?;
        }
        let mut servers = JoinSet::new();
        let tls = authority.local_server()?.server_config(&["http/1.1"])?;
        let https = https::serve(&mut servers, tls, Arc::clone(&state)).await?;
        let keys = [folder.path("host_key"), folder.path("client_key.pub")];
        let ssh = ssh::serve(&mut servers, &keys, Arc::clone(&state)).await?;
        let host_key = std::fs::read_to_string(folder.path("host_key.pub"))?;
        let other_key = std::fs::read_to_string(folder.path("other_key.pub"))?;
        let known = |key: &str| format!("[127.0.0.1]:{} {key}", ssh.port());
        folder.write("known_hosts", &known(&host_key))?;
        folder.write("wrong_known_hosts", &known(&other_key))?;
        Ok(Self {
            folder,
            https,
            ssh,
            state,
            _servers: servers,
        })
    }

    /// The template of its URLs over HTTPS.
    pub fn https_url(&self) -> String {
        format!("https://{}/{{project}}.git", self.https)
    }

    /// The template of its URLs over SSH.
    pub fn ssh_url(&self) -> String {
        format!("ssh://git@{}/{{project}}.git", self.ssh)
    }

    /// One of `ca.pem`, `client_key`, `other_key`, `known_hosts`, `wrong_known_hosts`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path(name)
    }

    /// The repository of a project, made when it is not there.
    pub async fn repository(&self, project: &str) -> Result<repository::Repository> {
        repository::Repository::open(self.state.root.join(format!("{project}.git"))).await
    }

    /// From now on connections are closed at once, or taken again.
    pub fn set_down(&self, down: bool) {
        self.state.mood.lock().unwrap().down = down;
    }

    /// From now on only the first version of git's protocol is spoken over SSH.
    pub fn set_old(&self) {
        self.state.mood.lock().unwrap().old = true;
    }

    /// From now on requests for a project are never answered.
    pub fn hang(&self, project: &str) {
        let path = format!("/{project}.git");
        self.state.mood.lock().unwrap().hung.insert(path);
    }

    /// How often something of a project was asked for.
    pub fn asked(&self, project: &str) -> usize {
        let path = format!("/{project}.git");
        let mood = self.state.mood.lock().unwrap();
        mood.asked.iter().filter(|asked| **asked == path).count()
    }
}

impl State {
    fn is_down(&self) -> bool {
        self.mood.lock().unwrap().down
    }

    fn is_old(&self) -> bool {
        self.mood.lock().unwrap().old
    }

    /// Waits for ever when requests for `path` hang.
    async fn ask(&self, path: &str) {
        let hung = {
            let mut mood = self.mood.lock().unwrap();
            mood.asked.push(path.to_owned());
            mood.hung.contains(path)
        };
        if hung {
            std::future::pending::<()>().await;
        }
    }
}

async fn keygen(file: &std::path::Path) -> Result<()> {
    let mut command = Command::new("ssh-keygen");
    command
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
        .arg(file);
    let output = within("ssh-keygen", command.output())
        .await?
        .context("ssh-keygen")?;
    ensure!(output.status.success(), "ssh-keygen: {output:?}");
    Ok(())
}

/// `git` with nothing of whoever runs the tests.
fn git() -> Command {
    let mut command = Command::new("git");
    command
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .envs([
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
        ])
        .kill_on_drop(true);
    command
}
