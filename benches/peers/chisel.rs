//! chisel: an SSH channel over WebSocket for each client's connection.

use super::{Setup, Site};

pub(super) fn set_up(site: &Site<'_>) -> Setup {
    let (control, service, origin) = (site.control, site.service, site.origin);
    let (mut server, mut agent) = (site.command("chisel"), site.command("chisel"));
    server.args(["server", "--reverse", "--host", "127.0.0.1"]);
    server.arg("--port").arg(control.to_string());
    agent
        .arg("client")
        .arg(format!("http://127.0.0.1:{control}"));
    agent.arg(format!("R:127.0.0.1:{service}:{origin}"));
    Setup {
        server,
        agent,
        dial: site.straight(),
    }
}
