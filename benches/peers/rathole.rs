//! rathole: each client's connection has one of its own between the two ends.

use anyhow::{Context as _, Result, ensure};

use super::{Setup, Site};

#[derive(Debug, Clone, Copy)]
pub(super) enum Transport {
    Plain,
    Noise,
}

pub(super) fn set_up(site: &Site<'_>, transport: Transport) -> Result<Setup> {
    let (server_transport, agent_transport) = match transport {
        Transport::Plain => (String::new(), String::new()),
        Transport::Noise => noise(site)?,
    };
    let (control, service, origin) = (site.control, site.service, site.origin);
    let server_file = site.write(
        "server.toml",
        &format!(
            "[server]\nbind_addr = '127.0.0.1:{control}'\ndefault_token = 't'\n{server_transport}\
             [server.services.api]\nbind_addr = '127.0.0.1:{service}'\n"
        ),
    )?;
    let agent_file = site.write(
        "agent.toml",
        &format!(
            "[client]\nremote_addr = '127.0.0.1:{control}'\ndefault_token = 't'\nretry_interval = 1\n{agent_transport}\
             [client.services.api]\nlocal_addr = '{origin}'\n"
        ),
    )?;
    let (mut server, mut agent) = (site.command("rathole"), site.command("rathole"));
    server.arg("--server").arg(server_file);
    agent.arg("--client").arg(agent_file);
    Ok(Setup {
        server,
        agent,
        dial: site.straight(),
    })
}

/// The keys of its Noise transport, which `rathole --genkey` prints.
fn noise(site: &Site<'_>) -> Result<(String, String)> {
    let output = std::process::Command::new(site.programs.join("rathole"))
        .arg("--genkey")
        .output()?;
    ensure!(
        output.status.success(),
        "rathole --genkey: {}",
        output.status
    );
    let text = String::from_utf8(output.stdout)?;
    let after = |title: &str| {
        let mut lines = text.lines().skip_while(|line| *line != title).skip(1);
        lines
            .next()
            .with_context(|| format!("rathole --genkey says no {title}"))
    };
    let (private, public) = (after("Private Key:")?, after("Public Key:")?);
    let of = |end: &str, key: &str| {
        format!("[{end}.transport]\ntype = 'noise'\n[{end}.transport.noise]\n{key}\n")
    };
    Ok((
        of("server", &format!("local_private_key = '{private}'")),
        of("client", &format!("remote_public_key = '{public}'")),
    ))
}
