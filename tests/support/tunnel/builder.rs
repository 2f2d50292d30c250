//! Starts a tunnel: files, registration, server, agents, until all agents are connected.

mod told;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use self::told::Told;
use super::files::{self, Programs};
use super::{Account, Addresses, Program, Tunnel};
use crate::cluster::Cluster;
use crate::cluster::folder::Folder;
use crate::relay::Relay;

/// What a tunnel is to be.
#[derive(Debug, Default)]
pub struct Builder<'a> {
    server_yaml: String,
    agent_yaml: String,
    agents: Vec<(String, String)>,
    ids: Vec<(String, u64)>,
    upstream: Upstream<'a>,
    do_not_wait: bool,
    relay: Option<&'a Relay>,
    logs: Option<PathBuf>,
    agents_through: Vec<String>,
    agents_ip: Option<IpAddr>,
}

#[derive(Debug, Default)]
enum Upstream<'a> {
    #[default]
    None,
    Cluster(&'a Cluster),
    Kubeconfig(PathBuf),
    ServiceAccount(&'a Cluster, PathBuf),
}

impl<'a> Builder<'a> {
    /// Keys of `server.yaml` over those that every tunnel has. `$REPOSITORIES` in it is the directory of the agents' files.
    #[must_use]
    pub fn server_yaml(mut self, yaml: &str) -> Self {
        yaml.clone_into(&mut self.server_yaml);
        self
    }

    /// Keys of every agent's `agent.yaml` over those that every tunnel has.
    #[must_use]
    pub fn agent_yaml(mut self, yaml: &str) -> Self {
        yaml.clone_into(&mut self.agent_yaml);
        self
    }

    /// An agent `<project>:<name>` with this configuration file.
    #[must_use]
    pub fn agent(mut self, name: &str, config: &str) -> Self {
        self.agents.push((name.to_owned(), config.to_owned()));
        self
    }

    /// The agent of this name is registered under this id.
    #[must_use]
    pub fn id(mut self, name: &str, id: u64) -> Self {
        self.ids.push((name.to_owned(), id));
        self
    }

    /// The agents serve this cluster, with the rights of an [`Account`] made for them.
    #[must_use]
    pub fn cluster(mut self, cluster: &'a Cluster) -> Self {
        self.upstream = Upstream::Cluster(cluster);
        self
    }

    /// The agents serve the API server of this kubeconfig.
    #[must_use]
    pub fn kubeconfig(mut self, file: &Path) -> Self {
        self.upstream = Upstream::Kubeconfig(file.to_owned());
        self
    }

    /// Agents reach the server through this.
    #[must_use]
    pub fn relay(mut self, relay: &'a Relay) -> Self {
        self.relay = Some(relay);
        self
    }

    /// Agents are started by this command, which becomes the agent: `nsenter` for one.
    #[must_use]
    pub fn agents_through(mut self, command: &[String]) -> Self {
        command.clone_into(&mut self.agents_through);
        self
    }

    /// The server awaits its agents at this address instead of the loopback.
    #[must_use]
    pub fn agents_ip(mut self, ip: IpAddr) -> Self {
        self.agents_ip = Some(ip);
        self
    }

    /// Writes the programs' logs to this folder, where they outlive the test; those of an earlier run are removed.
    #[must_use]
    pub fn logs(mut self, folder: &Path) -> Self {
        self.logs = Some(folder.to_owned());
        self
    }

    /// The agents serve this cluster as pods of it do, whose service account is mounted at `directory`.
    #[must_use]
    pub fn service_account(mut self, cluster: &'a Cluster, directory: &Path) -> Self {
        self.upstream = Upstream::ServiceAccount(cluster, directory.to_owned());
        self
    }

    /// Returns from [`Self::start`] without waiting for the agents to be connected.
    #[must_use]
    pub fn do_not_wait(mut self) -> Self {
        self.do_not_wait = true;
        self
    }

    /// Starts server and agents; all agents are connected when it returns.
    pub async fn start(self) -> Result<Tunnel> {
        let folder = Folder::new("ci-tunnel-tunnel-")?;
        let programs = Programs::find()?;
        let logs = match &self.logs {
            Some(logs) => files::emptied(logs)?,
            None => folder.subfolder("logs")?,
        };
        folder.subfolder(files::STATE)?;
        folder.subfolder(files::REPOSITORIES)?;
        for (name, config) in &self.agents {
            files::replace(&files::config_file(&folder, name)?, config)?;
        }
        let agents_ip = self.agents_ip.unwrap_or_else(|| Ipv4Addr::LOCALHOST.into());
        files::server_yaml(&folder, agents_ip, [0; 3], &self.server_yaml)?;
        let (server, addresses) = start_server(&programs, &folder, &logs).await?;
        let ports = [addresses.kubernetes_api, addresses.agents, addresses.ops];
        // For a server that is started again.
        files::server_yaml(
            &folder,
            agents_ip,
            ports.map(|address| address.port()),
            &self.server_yaml,
        )?;
        let ca_file = folder.path(files::STATE).join("ca.pem");
        let mut tunnel = Tunnel {
            server,
            agents: Vec::new(),
            replicas: Default::default(),
            names: Vec::new(),
            addresses,
            // None when the test gave the server a certificate.
            ca_pem: std::fs::read_to_string(ca_file).unwrap_or_default(),
            programs,
            files: AtomicUsize::new(0),
            logs,
            folder,
        };
        if let Some(relay) = self.relay {
            relay.lead_to(tunnel.addresses.agents);
            tunnel.addresses.agents = relay.address();
        }
        if !self.agents.is_empty() {
            let told = self.tell_upstream(&tunnel.folder).await?;
            let told = told.through(&self.agents_through);
            for (name, _) in &self.agents {
                let id = self.ids.iter().find(|(of, _)| of == name);
                tunnel
                    .add(name, id.map(|(_, id)| *id), &told, &self.agent_yaml)
                    .await?;
            }
        }
        if !self.do_not_wait {
            for (name, _) in &self.agents {
                let connected = tunnel.wait_connected(name).await;
                connected.with_context(|| tunnel.last_words())?;
            }
        }
        Ok(tunnel)
    }

    async fn tell_upstream(&self, folder: &Folder) -> Result<Told> {
        match &self.upstream {
            Upstream::None => bail!("the tunnel has no upstream: call cluster() or kubeconfig()"),
            Upstream::Kubeconfig(file) => Ok(Told::kubeconfig(file)),
            Upstream::Cluster(cluster) => {
                let file = folder.path("agent.kubeconfig");
                let account = Account::create(cluster).await?;
                files::write_secret(&file, &account.kubeconfig(cluster))?;
                Ok(Told::kubeconfig(&file))
            }
            Upstream::ServiceAccount(cluster, directory) => {
                Told::service_account(cluster, directory)
            }
        }
    }
}

async fn start_server(
    programs: &Programs,
    folder: &Folder,
    logs: &Path,
) -> Result<(Program, Addresses)> {
    let yaml = folder.path(files::SERVER_YAML).display().to_string();
    let server = Program::new(
        "ci-tunnel-server",
        &programs.server,
        &["--config", &yaml, "serve"],
        logs.join("server.log"),
        files::SERVING,
    );
    server.start().await?;
    let addresses = files::addresses(&server)?;
    Ok((server, addresses))
}

impl Tunnel {
    /// Registers an agent and starts it.
    async fn add(&mut self, name: &str, id: Option<u64>, told: &Told, extra: &str) -> Result<()> {
        let id = id.map(|id| format!("--id={id}"));
        let mut create = vec!["agent", "create", "--json", name];
        create.extend(id.as_deref());
        let created: Value = serde_json::from_str(&self.cli(&create).await?)?;
        let text = |key: &str| {
            let text = created[key].as_str();
            text.with_context(|| format!("`agent create` prints no {key}"))
        };
        let (_, pin) = text("command")?.rsplit_once("--pin ").context("no pin")?;
        self.enlist(name, (text("token")?, pin), told, extra).await
    }

    /// Starts the agent that was registered as `name`, with the token and pin that it got.
    pub async fn join(
        &mut self,
        name: &str,
        (token, pin): (&str, &str),
        kubeconfig: &Path,
        extra: &str,
    ) -> Result<()> {
        let told = Told::kubeconfig(kubeconfig);
        self.enlist(name, (token, pin), &told, extra).await
    }

    async fn enlist(
        &mut self,
        name: &str,
        (token, pin): (&str, &str),
        told: &Told,
        extra: &str,
    ) -> Result<()> {
        let index = self.agents.len();
        let token_file = self.folder.path(&format!("agent-{index}.token"));
        files::write_secret(&token_file, token)?;
        let mut file = json!({
            "server": self.agents_addr().to_string(),
            "pin": pin.trim(),
            "token": {"file": token_file},
            "upstream": told.upstream,
            "log": {"format": "json"},
            "ops": "off",
            // Another one for all tests, where somebody asks for that.
            "transport": std::env::var("CI_TUNNEL_TEST_TRANSPORT").unwrap_or_else(|_| "auto".to_owned()),
        });
        files::merge(&mut file, extra).context("the test's agent_yaml")?;
        let file = self
            .folder
            .write(&format!("agent-{index}.yaml"), &file.to_string())?;
        let (program, file) = (self.programs.agent.display(), file.display());
        let run = [
            program.to_string(),
            "run".to_owned(),
            format!("--config={file}"),
        ];
        let words = told.environment.iter().chain(&run).map(String::as_str);
        let agent = Program::new(
            "ci-tunnel-agent",
            // Of its own, for the variables.
            Path::new("env"),
            &words.collect::<Vec<_>>(),
            self.logs.join(format!("agent-{index}.log")),
            "",
        );
        agent.start().await?;
        self.agents.push(agent);
        self.names.push(name.to_owned());
        Ok(())
    }
}
