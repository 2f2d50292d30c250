//! `kubectl port-forward` to a TCP server that answers when it has heard everything.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use ci_tunnel_tests::deadline::{within, within_time};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Child;
use tokio::task::JoinSet;

use super::Wire;
use crate::ring::Ring;

#[tokio::test]
async fn port_forward_over_websocket() -> Result<()> {
    port_forward(Wire::WebSocket).await
}

#[tokio::test]
async fn port_forward_over_spdy() -> Result<()> {
    port_forward(Wire::Spdy).await
}

async fn port_forward(wire: Wire) -> Result<()> {
    match Ring::get("port-forward").await {
        Some(ring) => forwards(ring, wire).await,
        None => Ok(()),
    }
}

pub(super) async fn forwards(ring: &Ring, wire: Wire) -> Result<()> {
    let namespace = ring.pod("forward").await?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let ports = format!(":{}", listener.local_addr()?.port());
    let mut server = JoinSet::new();
    server.spawn(mirrors(listener));

    let kubectl = ring.kubectl()?;
    let args = ["port-forward", "-n", &namespace, "pod/web", &ports];
    let mut child = wire.command(&kubectl, &args).spawn()?;
    let local = local_address(&mut child).await?;
    // One after the other, then two at once, over the one connection of port-forward.
    converse(local, 5_000_000).await?;
    tokio::try_join!(converse(local, 1_000_000), converse(local, 100))?;
    child.kill().await?;
    wire.was_used(ring, &namespace, "portforward").await
}

/// The answer begins when the input has ended: the half-close must reach the other end, and close nothing else.
async fn mirrors(listener: TcpListener) {
    let mut conversations = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        conversations.spawn(async move {
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).await?;
            heard.reverse();
            stream.write_all(&heard).await
        });
    }
}

async fn converse(address: SocketAddr, len: usize) -> Result<()> {
    let sent: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
    let mut stream = TcpStream::connect(address).await?;
    let limit = std::time::Duration::from_secs(30);
    let (mut read, mut write) = stream.split();
    let talk = async {
        write.write_all(&sent).await?;
        write.shutdown().await?;
        let mut heard = Vec::new();
        read.read_to_end(&mut heard).await?;
        anyhow::Ok(heard)
    };
    let mut heard = within_time(limit, "the answer", talk).await??;
    heard.reverse();
    assert!(heard == sent, "{} of {len} bytes came back", heard.len());
    Ok(())
}

async fn local_address(child: &mut Child) -> Result<SocketAddr> {
    let stdout = child.stdout.as_mut().context("piped")?;
    let mut lines = BufReader::new(stdout).lines();
    let line = within("port-forward to listen", lines.next_line()).await??;
    let line = line.context("port-forward ended")?;
    let address = line.split(' ').nth(2).context("an address")?;
    address.parse().with_context(|| format!("in {line:?}"))
}
