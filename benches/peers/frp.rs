//! frp: a stream for each client's connection, of QUIC or of yamux over TLS.

use anyhow::Result;

use super::{Setup, Site};

/// `protocol` as frp names it: `quic` or `tcp`.
pub(super) fn set_up(site: &Site<'_>, protocol: &str) -> Result<Setup> {
    let (control, service, origin) = (site.control, site.service, site.origin);
    let server_file = site.write(
        "frps.toml",
        &format!(
            "bindAddr = '127.0.0.1'\nbindPort = {control}\nquicBindPort = {control}\nproxyBindAddr = '127.0.0.1'\n\
             auth.token = 't'\n"
        ),
    )?;
    let (host, port) = (origin.ip(), origin.port());
    let agent_file = site.write(
        "frpc.toml",
        &format!(
            "serverAddr = '127.0.0.1'\nserverPort = {control}\nauth.token = 't'\nloginFailExit = false\n\
             transport.protocol = '{protocol}'\n\
             [[proxies]]\nname = 'api'\ntype = 'tcp'\nlocalIP = '{host}'\nlocalPort = {port}\nremotePort = {service}\n"
        ),
    )?;
    let (mut server, mut agent) = (site.command("frps"), site.command("frpc"));
    server.arg("-c").arg(server_file);
    agent.arg("-c").arg(agent_file);
    Ok(Setup {
        server,
        agent,
        dial: site.straight(),
    })
}
