//! What holds where `server.yaml` says nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ci_tunnel::config::net::{LogConfig, Quic};

use super::{Agents, Config, KubernetesApi, Ops, Timeouts, audit, authn, configrepo, limits};

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: PathBuf::from("/var/lib/ci-tunnel"),
            kubernetes_api: KubernetesApi::default(),
            agents: Agents::default(),
            ops: Ops::default(),
            log: LogConfig::default(),
            quic: Quic::default(),
            config_repositories: configrepo::Config::default(),
            authn: authn::Config::default(),
            limits: limits::Config::default(),
            timeouts: Timeouts::default(),
            audit: audit::Config::default(),
            threads: 1,
        }
    }
}

impl Default for KubernetesApi {
    fn default() -> Self {
        Self {
            listen: any(8154),
            url: None,
            url_path_prefix: "/".to_owned(),
            tls: None,
            ca_file: None,
            certificate_names: Vec::new(),
            cleartext: None,
            max_connections: 10_000,
        }
    }
}

impl Default for Agents {
    fn default() -> Self {
        Self {
            listen: any(8155),
            address: None,
            max_sessions: 10_000,
            probe_every: Duration::from_secs(30),
        }
    }
}

impl Default for Ops {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8151)),
        }
    }
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
}
