//! An HTTP proxy that only connects, as stand in company networks, and that remembers to where.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A running proxy; it ends when dropped.
#[derive(Debug)]
pub struct ConnectProxy {
    addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _accepting: JoinSet<()>,
}

impl ConnectProxy {
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (addr, asked) = (listener.local_addr()?, Arc::<Mutex<Vec<String>>>::default());
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&asked)));
        Ok(Self {
            addr,
            asked,
            _accepting: accepting,
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Where connections were wanted to, as `host:port`, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn accept(listener: TcpListener, asked: Arc<Mutex<Vec<String>>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let asked = Arc::clone(&asked);
                connections.spawn(async move {
                    // Whoever breaks off has said all that a test wants to know.
                    let _ = connect(stream, &asked).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(stream: TcpStream, asked: &Mutex<Vec<String>>) -> Result<()> {
    let mut client = BufReader::new(stream);
    let mut target = None;
    loop {
        let mut line = String::new();
        client.read_line(&mut line).await?;
        if let Some(rest) = line.strip_prefix("CONNECT ") {
            target = rest.split(' ').next().map(str::to_owned);
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let target = target.context("another method than CONNECT")?;
    asked.lock().unwrap().push(target.clone());
    let mut server = TcpStream::connect(&target).await?;
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
