//! Carries a connection's packets or bytes until told to swallow them.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(super) struct Relay {
    pub(super) address: SocketAddr,
    open: Arc<watch::Sender<bool>>,
    _tasks: JoinSet<()>,
}

impl Relay {
    /// From now on nothing comes through, and neither end is told.
    pub(super) fn block(&self) {
        self.open.send_replace(false);
    }

    pub(super) async fn udp(server: SocketAddr) -> Self {
        let front = Arc::new(UdpSocket::bind(("127.0.0.1", 0)).await.unwrap());
        let back = Arc::new(UdpSocket::bind(("127.0.0.1", 0)).await.unwrap());
        back.connect(server).await.unwrap();
        let address = front.local_addr().unwrap();
        let open = Arc::new(watch::Sender::new(true));
        let client = Arc::new(watch::Sender::new(None::<SocketAddr>));
        let mut tasks = JoinSet::new();
        let (to, from, peer, passing) = (back.clone(), front.clone(), client.clone(), open.clone());
        tasks.spawn(async move {
            let mut packet = vec![0; 65536];
            loop {
                let (length, sender) = from.recv_from(&mut packet).await.unwrap();
                peer.send_replace(Some(sender));
                let passes = *passing.borrow();
                if passes {
                    let _ = to.send(&packet[..length]).await;
                }
            }
        });
        let passing = open.clone();
        tasks.spawn(async move {
            let mut packet = vec![0; 65536];
            loop {
                let Ok(length) = back.recv(&mut packet).await else {
                    continue;
                };
                let (passes, to) = (*passing.borrow(), *client.borrow());
                if let (true, Some(to)) = (passes, to) {
                    let _ = front.send_to(&packet[..length], to).await;
                }
            }
        });
        Self {
            address,
            open,
            _tasks: tasks,
        }
    }

    pub(super) async fn tcp(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(watch::Sender::new(true));
        let mut tasks = JoinSet::new();
        let passing = open.clone();
        tasks.spawn(async move {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(server).await.unwrap();
            let (client_read, client_write) = client.into_split();
            let (server_read, server_write) = server.into_split();
            tokio::join!(
                pass(client_read, server_write, passing.subscribe()),
                pass(server_read, client_write, passing.subscribe())
            );
        });
        Self {
            address,
            open,
            _tasks: tasks,
        }
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut open: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if open.wait_for(|open| *open).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
