//! `server.yaml`: the file's shape, one field a part, and its check.
//!
//! Every key has a default; a server without a file runs on these. `docs/examples/server.yaml` shows each key.

mod address;
mod defaults;
mod timeouts;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ci_tunnel::config::load;
use ci_tunnel::config::net::{LogConfig, Quic, TlsFiles};
use ci_tunnel::config::value::duration;
use ci_tunnel::runtime::telemetry;
use serde::Deserialize;

use address::{host_of, is_host_and_port};
pub use timeouts::Timeouts;

use crate::proxy::limits;
use crate::{audit, authn, configrepo};

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Holds the store, certificates made here and the audit log. Default `/var/lib/ci-tunnel`.
    pub state_dir: PathBuf,
    pub kubernetes_api: KubernetesApi,
    pub agents: Agents,
    pub ops: Ops,
    pub log: LogConfig,
    pub quic: Quic,
    pub config_repositories: configrepo::Config,
    pub authn: authn::Config,
    pub limits: limits::Config,
    pub timeouts: Timeouts,
    pub audit: audit::Config,
    /// Threads that carry requests. One is the fastest for a machine of few cores: no request is handed from one core
    /// to another. Default 1.
    pub threads: usize,
}

/// Where jobs' clients connect.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KubernetesApi {
    /// Default `0.0.0.0:8154`.
    #[serde(deserialize_with = "address::listen")]
    pub listen: SocketAddr,
    /// What KUBECONFIGs name, without the prefix. Default: `https://localhost:<port>`, which other machines can not use.
    pub url: Option<String>,
    /// Begins every path. Default `/`; `/k8s-proxy/` is GitLab's.
    pub url_path_prefix: String,
    /// Default: made in `state_dir`, and renewed there.
    pub tls: Option<TlsFiles>,
    /// The CA that KUBECONFIGs embed when `tls` is of a private one. Default: none for given files, so that clients
    /// ask their system; the CA made in `state_dir` otherwise.
    pub ca_file: Option<PathBuf>,
    /// Names and addresses in the certificate made here, besides those of `url` and of this machine.
    pub certificate_names: Vec<String>,
    /// Serves HTTP without TLS when it says `everyone-on-the-network-can-steal-tokens`.
    pub cleartext: Option<String>,
    /// Client connections at a time. Default 10000.
    pub max_connections: usize,
}

/// Where agents connect.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Agents {
    /// UDP for QUIC, and TCP for agents that it does not reach. Default `0.0.0.0:8155`.
    #[serde(deserialize_with = "address::listen")]
    pub listen: SocketAddr,
    /// What the command that starts an agent names: `host:port`. Default: the host of `kubernetes_api.url` and the port
    /// of `listen`.
    pub address: Option<String>,
    /// Agent connections at a time. Default 10000.
    pub max_sessions: usize,
    /// How often each is asked for `/version` of its API server, by the way of jobs' requests; `0s`: never. Default 30s.
    #[serde(with = "duration")]
    pub probe_every: Duration,
}

/// `/metrics`, `/livez`, `/readyz`, `/log`, `/status`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ops {
    /// Default `127.0.0.1:8151`.
    #[serde(deserialize_with = "address::listen")]
    pub listen: SocketAddr,
}

/// Why a file is no configuration. The messages name the field.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Load(#[from] load::Error),
    #[error("{}: {error}", file.display())]
    In { file: PathBuf, error: Box<Self> },
    #[error("{0}")]
    Quic(#[from] ci_tunnel::config::net::Error),
    #[error(
        "kubernetes_api.url is {0:?}: it must be `https://host` or `https://host:port`, nothing behind it"
    )]
    Url(String),
    #[error(
        "kubernetes_api.url is {0:?}: kubectl does not send tokens over http; write `https://`, or serve without TLS \
         as kubernetes_api.cleartext says"
    )]
    PlainUrl(String),
    #[error("kubernetes_api.url_path_prefix is {0:?}: it must begin and end with `/`")]
    Prefix(String),
    #[error(
        "kubernetes_api.cleartext is {0:?}: kubectl does not send tokens without TLS, and whoever listens can steal \
         them; if that is really wanted, write {CLEARTEXT:?}"
    )]
    Cleartext(String),
    #[error("kubernetes_api.cleartext and kubernetes_api.tls exclude each other: remove one")]
    CleartextAndTls,
    #[error("kubernetes_api.ca_file: {}: {source}", path.display())]
    CaFile {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("agents.address is {0:?}: it must be `host:port`, without a scheme")]
    AgentsAddress(String),
    #[error("threads is {0}: it must be from 1 to 1024")]
    Threads(usize),
    #[error("{0} must be more than 0")]
    Zero(&'static str),
    #[error(transparent)]
    Limits(#[from] limits::config::Error),
    #[error(transparent)]
    Repositories(#[from] configrepo::Error),
    #[error(transparent)]
    Log(#[from] telemetry::Error),
    #[error(transparent)]
    Audit(#[from] audit::Invalid),
}

/// The words that turn TLS off.
const CLEARTEXT: &str = "everyone-on-the-network-can-steal-tokens";

impl Config {
    /// Reads and checks `file`; the defaults where none is named.
    ///
    /// # Errors
    /// The file can not be read, is not a configuration, or its values do not fit together.
    pub fn load(file: Option<&std::path::Path>) -> Result<Self, Error> {
        let mut config = file.map_or_else(|| Ok(Self::default()), load::from_file::<Self>)?;
        config.check().map_err(|error| match file {
            Some(file) => Error::In {
                file: file.to_owned(),
                error: Box::new(error),
            },
            None => error,
        })?;
        Ok(config)
    }

    fn check(&mut self) -> Result<(), Error> {
        let providers = self.authn.providers.iter();
        self.config_repositories
            .bind(providers.map(|provider| provider.name.as_str()))?;
        self.quic.check()?;
        let api = &self.kubernetes_api;
        if let Some(url) = &api.url
            && host_of(url).is_none()
        {
            return Err(Error::Url(url.clone()));
        }
        if let Some(url) = &api.url
            && url.starts_with("http://")
            && api.cleartext.is_none()
        {
            return Err(Error::PlainUrl(url.clone()));
        }
        let prefix = &api.url_path_prefix;
        if !prefix.starts_with('/') || !prefix.ends_with('/') {
            return Err(Error::Prefix(prefix.clone()));
        }
        match &api.cleartext {
            Some(_) if api.tls.is_some() => return Err(Error::CleartextAndTls),
            Some(words) if words != CLEARTEXT => return Err(Error::Cleartext(words.clone())),
            _ => {}
        }
        if let Some(address) = &self.agents.address
            && !is_host_and_port(address)
        {
            return Err(Error::AgentsAddress(address.clone()));
        }
        telemetry::check(&self.log)?;
        self.audit.check()?;
        self.limits.check()?;
        self.check_numbers()
    }

    fn check_numbers(&self) -> Result<(), Error> {
        if !(1..=1024).contains(&self.threads) {
            return Err(Error::Threads(self.threads));
        }
        if self.kubernetes_api.max_connections == 0 {
            return Err(Error::Zero("kubernetes_api.max_connections"));
        }
        if self.agents.max_sessions == 0 {
            return Err(Error::Zero("agents.max_sessions"));
        }
        match self.timeouts.zero() {
            Some(name) => Err(Error::Zero(name)),
            None => Ok(()),
        }
    }

    /// The URL of the Kubernetes API front that KUBECONFIGs name, prefix included.
    pub fn public_url(&self, port: u16) -> String {
        let scheme = if self.kubernetes_api.cleartext.is_some() {
            "http"
        } else {
            "https"
        };
        let base = self
            .kubernetes_api
            .url
            .clone()
            .unwrap_or_else(|| format!("{scheme}://localhost:{port}"));
        format!(
            "{base}{}",
            self.kubernetes_api.url_path_prefix.trim_end_matches('/')
        )
    }

    /// The CA that KUBECONFIGs embed, when a file is named.
    ///
    /// # Errors
    /// The file can not be read.
    pub fn ca_pem(&self) -> Result<Option<String>, Error> {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|source| Error::CaFile {
                path: path.clone(),
                source,
            })
        };
        self.kubernetes_api.ca_file.as_ref().map(read).transpose()
    }

    /// Where agents connect, for the command that starts one.
    pub fn agents_address(&self) -> String {
        let host = self
            .kubernetes_api
            .url
            .as_deref()
            .and_then(host_of)
            .unwrap_or("localhost");
        self.agents
            .address
            .clone()
            .unwrap_or_else(|| format!("{host}:{}", self.agents.listen.port()))
    }

    /// The names in a certificate that is made here.
    pub fn certificate_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.kubernetes_api.certificate_names.clone();
        names.extend(
            self.kubernetes_api
                .url
                .as_deref()
                .and_then(host_of)
                .map(str::to_owned),
        );
        let agents = self
            .agents
            .address
            .as_deref()
            .and_then(|address| address.rsplit_once(':'));
        names.extend(agents.map(|(host, _)| host.trim_matches(['[', ']']).to_owned()));
        names.sort();
        names.dedup();
        names
    }
}
