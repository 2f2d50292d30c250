//! A network between server and agents: one port number for UDP and TCP. UDP can be made to be swallowed, disturbed, and to
//! come from another address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
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

/// What happens to one packet in so many, each way; 0: to none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Disturbance {
    pub lost: u64,
    pub doubled: u64,
    /// Comes behind the next one.
    pub late: u64,
}

#[derive(Debug, Default)]
struct Path {
    server: Mutex<Option<SocketAddr>>,
    udp_blocked: Mutex<bool>,
    disturbance: Mutex<Disturbance>,
    /// Packets so far: the same ones are disturbed in each run.
    count: AtomicU64,
    /// How often addresses changed.
    bindings: AtomicU64,
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

    /// From now on packets suffer this.
    pub fn disturb(&self, disturbance: Disturbance) {
        *self.path.disturbance.lock().unwrap() = disturbance;
    }

    /// The next packets of each agent come from another address, as after a router was started anew.
    pub fn rebind(&self) {
        self.path.bindings.fetch_add(1, Ordering::Relaxed);
    }
}

/// One direction of one agent's packets.
#[derive(Debug, Default)]
struct Direction {
    held: Option<Vec<u8>>,
}

impl Direction {
    /// What goes out when this comes in.
    fn pass(&mut self, packet: &[u8], path: &Path) -> Vec<Vec<u8>> {
        let disturbance = *path.disturbance.lock().unwrap();
        // Scattered, but the same in each run.
        let number = path.count.fetch_add(1, Ordering::Relaxed);
        let drawn = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        let hit = |one_in: u64, salt: u64| one_in != 0 && (drawn / (salt * 7 + 1)) % one_in == 0;
        let mut out = Vec::new();
        if hit(disturbance.late, 2) && self.held.is_none() {
            self.held = Some(packet.to_vec());
            return out;
        }
        if !hit(disturbance.lost, 0) {
            out.push(packet.to_vec());
        }
        if hit(disturbance.doubled, 1) {
            out.push(packet.to_vec());
        }
        out.extend(self.held.take());
        out
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
    let mut backs: HashMap<SocketAddr, (Arc<UdpSocket>, Direction)> = HashMap::new();
    let mut returning = JoinSet::new();
    let mut bindings = 0;
    let mut packet = vec![0; PACKET];
    loop {
        let Ok((length, agent)) = front.recv_from(&mut packet).await else {
            continue;
        };
        let Some(server) = path.open() else { continue };
        let now = path.bindings.load(Ordering::Relaxed);
        if now != bindings {
            bindings = now;
            backs.clear();
            returning.abort_all();
        }
        let (back, direction) = match backs.entry(agent) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let Ok(back) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await else {
                    continue;
                };
                let back = Arc::new(back);
                let (there, path) = (Arc::clone(&front), Arc::clone(&path));
                returning.spawn(answers(Arc::clone(&back), there, agent, path));
                new.insert((back, Direction::default()))
            }
        };
        for packet in direction.pass(&packet[..length], &path) {
            // Lost packets are what networks are like.
            let _ = back.send_to(&packet, server).await;
        }
    }
}

async fn answers(back: Arc<UdpSocket>, front: Arc<UdpSocket>, agent: SocketAddr, path: Arc<Path>) {
    let mut packet = vec![0; PACKET];
    let mut direction = Direction::default();
    loop {
        // An error says that a packet found nobody, as while a server restarts.
        let Ok((length, _)) = back.recv_from(&mut packet).await else {
            continue;
        };
        if path.open().is_none() {
            continue;
        }
        for packet in direction.pass(&packet[..length], &path) {
            let _ = front.send_to(&packet, agent).await;
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
