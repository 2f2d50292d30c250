//! A network between server and agents: one port number for UDP and TCP, each of which can be made to swallow everything.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// Carries packets and connections to a server that may be named later.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    path: Arc<Path>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Path {
    server: Mutex<Option<SocketAddr>>,
    udp_blocked: Mutex<bool>,
}

/// For a port that is free for both.
const TRIES: usize = 32;
/// The longest datagram.
const PACKET: usize = 65_536;

impl Relay {
    pub async fn start() -> Result<Self> {
        let (udp, tcp) = sockets().await?;
        let address = udp.local_addr()?;
        let path = Arc::new(Path::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(packets(Arc::new(udp), Arc::clone(&path)));
        tasks.spawn(connections(tcp, Arc::clone(&path)));
        Ok(Self {
            address,
            path,
            _tasks: tasks,
        })
    }

    /// Where agents find it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it leads here.
    pub fn lead_to(&self, server: SocketAddr) {
        *self.path.server.lock().unwrap() = Some(server);
    }

    /// Swallows UDP both ways, without a word to either end; or lets it pass again.
    pub fn block_udp(&self, blocked: bool) {
        *self.path.udp_blocked.lock().unwrap() = blocked;
    }
}

impl Path {
    /// Where a packet goes, if it goes at all.
    fn open(&self) -> Option<SocketAddr> {
        let blocked = *self.udp_blocked.lock().unwrap();
        let server = *self.server.lock().unwrap();
        server.filter(|_| !blocked)
    }
}

async fn sockets() -> Result<(UdpSocket, TcpListener)> {
    let mut last = None;
    for _ in 0..TRIES {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("no port was tried")?).context("a port for UDP and TCP")
}

/// A socket of its own to the server for each agent, so that answers find their way back.
async fn packets(front: Arc<UdpSocket>, path: Arc<Path>) {
    let mut backs: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut returning = JoinSet::new();
    let mut packet = vec![0; PACKET];
    loop {
        let Ok((length, agent)) = front.recv_from(&mut packet).await else {
            continue;
        };
        let Some(server) = path.open() else { continue };
        if !backs.contains_key(&agent) {
            let Ok(back) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await else {
                continue;
            };
            let back = Arc::new(back);
            backs.insert(agent, Arc::clone(&back));
            returning.spawn(answers(back, Arc::clone(&front), agent, Arc::clone(&path)));
        }
        // Lost packets are what networks are like.
        let _ = backs[&agent].send_to(&packet[..length], server).await;
    }
}

async fn answers(back: Arc<UdpSocket>, front: Arc<UdpSocket>, agent: SocketAddr, path: Arc<Path>) {
    let mut packet = vec![0; PACKET];
    loop {
        // An error says that a packet found nobody, as while a server restarts.
        if let Ok((length, _)) = back.recv_from(&mut packet).await
            && path.open().is_some()
        {
            let _ = front.send_to(&packet[..length], agent).await;
        }
    }
}

async fn connections(front: TcpListener, path: Arc<Path>) {
    let mut carried = JoinSet::new();
    while let Ok((mut agent, _)) = front.accept().await {
        let server = *path.server.lock().unwrap();
        carried.spawn(async move {
            let server = TcpStream::connect(server?).await;
            let mut server = server.ok()?;
            server.set_nodelay(true).ok()?;
            agent.set_nodelay(true).ok()?;
            copy_bidirectional(&mut agent, &mut server).await.ok()
        });
    }
}
