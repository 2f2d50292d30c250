//! The way from the API server to pods that exist only on paper.
//!
//! The API server is told to reach nodes, pods and services through an HTTP CONNECT proxy on a
//! Unix socket. This is that proxy: whatever address is asked for, it dials the same port of
//! 127.0.0.1. So `/api/v1/namespaces/x/pods/y:PORT/proxy/` reaches a test's own listener.

use std::{io, path::PathBuf, thread};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpStream, UnixListener, UnixStream},
    runtime, select,
    sync::oneshot,
    task::JoinSet,
};

use super::ports::local;

/// A running proxy; it ends when dropped.
#[derive(Debug)]
pub(super) struct Egress {
    _stop: oneshot::Sender<()>,
}

impl Egress {
    /// Listens at `socket` on a thread and runtime of its own: a cluster shared by many tests
    /// outlives the runtime of the test that started it.
    pub(super) fn start(socket: PathBuf) -> Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = {
            let _guard = runtime.enter();
            UnixListener::bind(&socket).context("listening for the API server's egress")?
        };
        thread::Builder::new()
            .name("egress".into())
            .spawn(move || runtime.block_on(serve(listener, stopped)))
            .context("starting the egress thread")?;
        Ok(Self { _stop: stop })
    }
}

async fn serve(listener: UnixListener, mut stopped: oneshot::Receiver<()>) {
    let mut tunnels = JoinSet::new();
    loop {
        select! {
            _ = &mut stopped => return,
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    tunnels.spawn(tunnel(stream));
                }
            }
            Some(_) = tunnels.join_next() => {}
        }
    }
}

async fn tunnel(stream: UnixStream) -> io::Result<()> {
    let mut client = BufReader::new(stream);
    let Some(port) = read_connect(&mut client).await? else {
        return client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    };
    let Ok(mut target) = TcpStream::connect(local(port)).await else {
        return client.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
    };
    target.set_nodelay(true)?;
    client
        .write_all(b"HTTP/1.1 200 Established\r\n\r\n")
        .await?;
    copy_bidirectional(&mut client, &mut target).await?;
    Ok(())
}

/// Reads `CONNECT host:port HTTP/1.1` and its headers.
async fn read_connect(client: &mut BufReader<UnixStream>) -> io::Result<Option<u16>> {
    let mut line = String::new();
    client.read_line(&mut line).await?;
    let port = line
        .split(' ')
        .nth(1)
        .and_then(|authority| authority.rsplit_once(':'))
        .and_then(|(_, port)| port.parse().ok());
    while client.read_line(&mut line).await? > 2 {}
    Ok(port)
}
