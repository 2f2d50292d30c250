//! rusnel: a QUIC stream for each client's connection, by the same QUIC library as the tunnel's.

use super::{Setup, Site};

pub(super) fn set_up(site: &Site<'_>) -> Setup {
    let (control, service, origin) = (site.control, site.service, site.origin);
    let (mut server, mut agent) = (site.command("rusnel"), site.command("rusnel"));
    server.args([
        "server",
        "--host",
        "127.0.0.1",
        "--allow-reverse",
        "--insecure",
    ]);
    server.arg("--port").arg(control.to_string());
    agent.args(["client", "--insecure"]);
    agent.arg(format!("127.0.0.1:{control}"));
    agent.arg(format!("R:127.0.0.1:{service}:{origin}"));
    Setup {
        server,
        agent,
        dial: site.straight(),
    }
}
