//! Servers that are killed, and what holds up their end.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ci_tunnel_tests::client::Http;
use ci_tunnel_tests::pki;
use ci_tunnel_tests::process::Signal;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::rig::Rig;

/// However long the server was away, and whatever carries the connection.
#[tokio::test]
async fn a_killed_server_is_found_again_at_once() -> Result<()> {
    for transport in ["auto", "quic", "http2"] {
        let rig = Rig::with("", &format!("transport: {transport}")).await?;
        assert_eq!(rig.client(Http::Two)?.get("/small").await?.status(), 200);
        let mut times = Vec::new();
        for away in [0, 100, 700, 2500] {
            rig.tunnel.server().kill();
            tokio::time::sleep(Duration::from_millis(away)).await;
            rig.tunnel.server().start().await?;
            let begin = Instant::now();
            // Held until the agent is there.
            assert_eq!(rig.client(Http::Two)?.get("/small").await?.status(), 200);
            times.push(begin.elapsed());
        }
        println!("{transport}: server killed and started: requests work after {times:?}");
        let limit = Duration::from_secs(4);
        ensure!(times.iter().all(|time| *time < limit), "{times:?}");
    }
    Ok(())
}

/// A client that has connected and says nothing, not even HTTP/2's preface.
#[tokio::test]
async fn a_silent_client_does_not_hold_up_the_end() -> Result<()> {
    let rig = Rig::start().await?;
    let tls = TlsConnector::from(pki::client_config(rig.tunnel.ca_pem(), &["h2"])?);
    let stream = TcpStream::connect(rig.tunnel.api_addr()).await?;
    let name = ServerName::IpAddress(rig.tunnel.api_addr().ip().into());
    let silent = tls.connect(name, stream).await?;
    let used = rig.client(Http::Two)?;
    assert_eq!(used.get("/small").await?.status(), 200);
    let begin = Instant::now();
    rig.tunnel.server().signal(Signal::Term)?;
    let status = rig.tunnel.server().wait(Duration::from_secs(20)).await?;
    println!(
        "asked to end beside a silent client: ended after {:?}",
        begin.elapsed()
    );
    assert_eq!(status.code(), Some(0));
    ensure!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    drop(silent);
    Ok(())
}
