//! konnectivity, Kubernetes' own: clients ask its server, over TLS, to CONNECT to the origin.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use ci_tunnel_tests::pki::{self, Authority};

use super::{Setup, Site};
use crate::client::Dial;

pub(super) fn set_up(site: &Site<'_>) -> Result<Setup> {
    let authority = Authority::new("konnectivity")?;
    let ca = authority.ca_pem();
    let (ends, client) = (authority.local_server()?, authority.client("agent")?);
    let ca_file = site.write("ca.pem", &ca)?.display().to_string();
    let write = |name: &str, text: &str| {
        Ok::<_, anyhow::Error>(site.write(name, text)?.display().to_string())
    };
    let cert = write("server.crt", &ends.cert_pem)?;
    let key = write("server.key", &ends.key_pem)?;
    let agent_cert = write("agent.crt", &client.cert_pem)?;
    let agent_key = write("agent.key", &client.key_pem)?;
    let [health, admin, agent_health, agent_admin] = site.more;
    let mut server = site.command("proxy-server");
    let mut agent = site.command("proxy-agent");
    server.args([
        "--mode=http-connect".to_owned(),
        format!("--server-port={}", site.service),
        "--server-bind-address=127.0.0.1".to_owned(),
        format!("--server-cert={cert}"),
        format!("--server-key={key}"),
        format!("--agent-port={}", site.control),
        "--agent-bind-address=127.0.0.1".to_owned(),
        format!("--cluster-ca-cert={ca_file}"),
        format!("--cluster-cert={cert}"),
        format!("--cluster-key={key}"),
        format!("--health-port={health}"),
        "--health-bind-address=127.0.0.1".to_owned(),
        format!("--admin-port={admin}"),
    ]);
    agent.args([
        "--proxy-server-host=127.0.0.1".to_owned(),
        format!("--proxy-server-port={}", site.control),
        format!("--ca-cert={ca_file}"),
        format!("--agent-cert={agent_cert}"),
        format!("--agent-key={agent_key}"),
        "--health-server-host=127.0.0.1".to_owned(),
        format!("--health-server-port={agent_health}"),
        "--admin-bind-address=127.0.0.1".to_owned(),
        format!("--admin-server-port={agent_admin}"),
    ]);
    Ok(Setup {
        server,
        agent,
        dial: Dial::Connect {
            proxy: SocketAddr::from((Ipv4Addr::LOCALHOST, site.service)),
            tls: pki::client_config(&ca, &["http/1.1"])?,
            to: site.origin,
        },
    })
}
