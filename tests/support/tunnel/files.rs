//! The files that server and agent are started with, and the server's command line on these.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{Addresses, Program};
use crate::cluster::folder::Folder;
use crate::deadline::within;
use crate::process::binary;

/// The programs of this workspace.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) server: PathBuf,
    pub(super) agent: PathBuf,
}

impl Programs {
    pub(super) fn find() -> Result<Self> {
        Ok(Self {
            server: binary("ci-tunnel-server")?,
            agent: binary("ci-tunnel-agent")?,
        })
    }
}

/// Writes the server's file: what all tests have, and over it what one test wants.
pub(super) fn server_yaml(
    folder: &Folder,
    agents_ip: IpAddr,
    [kubernetes_api, agents, ops]: [u16; 3],
    extra: &str,
) -> Result<()> {
    let [kubernetes_api, ops] =
        [kubernetes_api, ops].map(|port| SocketAddr::from(([127, 0, 0, 1], port)).to_string());
    let agents = SocketAddr::from((agents_ip, agents)).to_string();
    let mut file = json!({
        "state_dir": folder.path(STATE),
        "kubernetes_api": {"listen": kubernetes_api},
        "agents": {"listen": agents},
        "ops": {"listen": ops},
        "log": {"format": "json"},
        "config_repositories": [{"directory": folder.path(REPOSITORIES)}],
    });
    if !agents_ip.is_loopback() {
        file["kubernetes_api"]["certificate_names"] = json!([agents_ip]);
    }
    // Lists are replaced whole, so whoever says more of the repository names its directory.
    let directory = folder.path(REPOSITORIES).display().to_string();
    let extra = extra.replace("$REPOSITORIES", &directory);
    merge(&mut file, &extra).context("the test's server_yaml")?;
    let text = serde_yaml::to_string(&file)?;
    folder.write(SERVER_YAML, &text).map(drop)
}

/// Puts keys over those of the server's file.
pub(super) fn change_server_yaml(folder: &Folder, extra: &str) -> Result<()> {
    let path = folder.path(SERVER_YAML);
    let text = fs::read_to_string(&path).context("the server's file")?;
    let mut file: Value = serde_yaml::from_str(&text)?;
    merge(&mut file, extra)?;
    replace(&path, &serde_yaml::to_string(&file)?)
}

/// Puts the keys of a YAML text over those of `file`, level by level.
pub(super) fn merge(file: &mut Value, extra: &str) -> Result<()> {
    let extra: Value = serde_yaml::from_str(extra)?;
    put_over(file, extra);
    Ok(())
}

fn put_over(below: &mut Value, over: Value) {
    match (below, over) {
        (_, Value::Null) => {}
        (Value::Object(below), Value::Object(over)) => {
            for (key, value) in over {
                match below.get_mut(&key) {
                    Some(known) => put_over(known, value),
                    None => drop(below.insert(key, value)),
                }
            }
        }
        (below, over) => *below = over,
    }
}

/// The configuration file of the agent `<project>:<name>`.
pub(super) fn config_file(folder: &Folder, agent: &str) -> Result<PathBuf> {
    let (project, name) = agent
        .split_once(':')
        .with_context(|| format!("{agent} is not of the form project:name"))?;
    let root = folder.path(REPOSITORIES);
    Ok(root.join(format!("{project}/.gitlab/agents/{name}/config.yaml")))
}

/// Writes a file, which nobody ever sees half written.
pub(super) fn replace(file: &Path, text: &str) -> Result<()> {
    let folder = file.parent().context("a file is in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let new = file.with_extension("new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, file))
        .with_context(|| format!("writing {}", file.display()))
}

/// Writes a file that only this user can read.
pub(super) fn write_secret(file: &Path, text: &str) -> Result<()> {
    fs::write(file, "")
        .and_then(|()| fs::set_permissions(file, fs::Permissions::from_mode(0o600)))
        .and_then(|()| fs::write(file, text))
        .with_context(|| format!("writing {}", file.display()))
}

/// Makes a folder, without what was in it before.
pub(super) fn emptied(folder: &Path) -> Result<PathBuf> {
    // It may not be there; whatever else is wrong with it, making it will say.
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder.to_owned())
}

/// Runs the server's command line, which must end well.
pub(super) async fn cli(program: &Path, folder: &Folder, arguments: &[&str]) -> Result<String> {
    let output = output(program, folder, arguments).await?;
    ensure!(
        output.status.success(),
        "ci-tunnel-server {}: {}\n{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs the server's command line; its exit code and what it printed.
pub(super) async fn cli_ran(
    program: &Path,
    folder: &Folder,
    arguments: &[&str],
) -> Result<(Option<i32>, String)> {
    let output = output(program, folder, arguments).await?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8(text)?))
}

async fn output(program: &Path, folder: &Folder, arguments: &[&str]) -> Result<Output> {
    let what = format!("ci-tunnel-server {}", arguments.join(" "));
    let mut command = Command::new(program);
    command
        .env_clear()
        .arg("--config")
        .arg(folder.path(SERVER_YAML))
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    within(&what, command.output()).await?.context(what.clone())
}

/// Where the server says that it listens.
pub(super) fn addresses(server: &Program) -> Result<Addresses> {
    let lines = server.lines();
    let line = lines.iter().find(|line| line.contains(SERVING));
    let line = line.context("the server does not say where it listens")?;
    let value: Value = serde_json::from_str(line).with_context(|| format!("log line {line}"))?;
    let address = |name: &str| {
        let text = value[name].as_str();
        let text = text.with_context(|| format!("no {name} in {line}"))?;
        text.parse().with_context(|| format!("{name} in {line}"))
    };
    Ok(Addresses {
        kubernetes_api: address("kubernetes_api")?,
        agents: address("agents")?,
        ops: address("ops")?,
    })
}

pub(super) const SERVING: &str = "\"serving\"";
pub(super) const STATE: &str = "state";
pub(super) const REPOSITORIES: &str = "repositories";
pub(super) const SERVER_YAML: &str = "server.yaml";
