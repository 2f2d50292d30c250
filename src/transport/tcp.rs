//! TCP and TLS below HTTP/2: dialled by the agent, accepted by the server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::protocol::ALPN_HTTP2;

/// Why there is no TLS over TCP.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No TCP connection.
    #[error("TCP to {address}: {source}")]
    Connect {
        /// The address that was tried last.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// There is nothing to connect to.
    #[error("there is no address to connect to")]
    NoAddress,
    /// The handshake failed.
    #[error("TLS: {0}")]
    Tls(#[source] io::Error),
    /// The name can be in no certificate.
    #[error("`{0}` can not be the name of a server")]
    Name(String),
    /// The peer is something else.
    #[error("TLS: the peer does not speak {}", String::from_utf8_lossy(ALPN_HTTP2))]
    Protocol,
}

/// Between attempts on one address and the next (RFC 8305).
const NEXT: Duration = Duration::from_millis(250);
/// Bytes that the kernel takes before the earlier ones are sent: what waits there can not be overtaken.
const UNSENT: u32 = 128 * 1024;

/// Connects to the address that answers first: one after the other, the families in turn, without waiting long for any.
///
/// # Errors
/// None answered. There is no deadline: the caller sets one.
pub async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, Error> {
    let mut waiting = in_turn(addresses).into_iter();
    let mut attempts = JoinSet::new();
    let mut last = Error::NoAddress;
    loop {
        match waiting.next() {
            Some(address) => drop(attempts.spawn(attempt(address))),
            None if attempts.is_empty() => return Err(last),
            None => {}
        }
        let patience = async {
            if waiting.len() == 0 {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(NEXT).await;
        };
        tokio::select! {
            Some(ended) = attempts.join_next() => match ended {
                Ok(Ok(stream)) => {
                    tune(&stream);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = error,
                Err(_) => {}
            },
            () = patience => {}
        }
    }
}

async fn attempt(address: SocketAddr) -> Result<TcpStream, Error> {
    TcpStream::connect(address)
        .await
        .map_err(|source| Error::Connect { address, source })
}

/// The families in turn, beginning with the first address's (RFC 8305).
pub fn in_turn(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let v4_first = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .iter()
        .copied()
        .partition(|address| address.is_ipv4() == v4_first);
    let mut turns = Vec::with_capacity(addresses.len());
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    while turns.len() < addresses.len() {
        turns.extend(first.next());
        turns.extend(second.next());
    }
    turns
}

/// Small messages go at once, and large ones leave them room.
pub fn tune(stream: &TcpStream) {
    let unsent = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT);
    if let Err(error) = stream.set_nodelay(true).and(unsent) {
        tracing::debug!(%error, "a TCP socket can not be tuned");
    }
}

/// The agent's TLS handshake. There is no deadline: the caller sets one.
///
/// # Errors
/// The server is not to be trusted, or is something else.
pub async fn secure(
    stream: TcpStream,
    name: &str,
    tls: Arc<rustls::ClientConfig>,
) -> Result<client::TlsStream<TcpStream>, Error> {
    let name = ServerName::try_from(name.to_owned()).map_err(|_| Error::Name(name.to_owned()))?;
    let stream = TlsConnector::from(tls)
        .connect(name, stream)
        .await
        .map_err(Error::Tls)?;
    speaks_ours(stream.get_ref().1.alpn_protocol())?;
    Ok(stream)
}

/// The server's TLS handshake. There is no deadline: the caller sets one.
///
/// # Errors
/// The peer is no agent.
pub async fn accept(
    stream: TcpStream,
    tls: Arc<rustls::ServerConfig>,
) -> Result<server::TlsStream<TcpStream>, Error> {
    let stream = TlsAcceptor::from(tls)
        .accept(stream)
        .await
        .map_err(Error::Tls)?;
    speaks_ours(stream.get_ref().1.alpn_protocol())?;
    Ok(stream)
}

fn speaks_ours(protocol: Option<&[u8]>) -> Result<(), Error> {
    if protocol == Some(ALPN_HTTP2) {
        Ok(())
    } else {
        Err(Error::Protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let all = ["[::1]:1", "[::2]:1", "[::3]:1", "127.0.0.1:1"].map(address);
        let turns = ["[::1]:1", "127.0.0.1:1", "[::2]:1", "[::3]:1"].map(address);
        assert_eq!(in_turn(&all), turns);
        assert!(in_turn(&[]).is_empty());
    }

    #[tokio::test]
    async fn the_address_that_answers_is_taken() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .unwrap();
        let living = listener.local_addr().unwrap();
        let dead = {
            let other = tokio::net::TcpListener::bind(("127.0.0.1", 0))
                .await
                .unwrap();
            other.local_addr().unwrap()
        };
        let stream = connect(&[dead, living]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), living);
        assert!(stream.nodelay().unwrap());
        let error = connect(&[dead]).await.unwrap_err();
        assert!(
            matches!(error, Error::Connect { address, .. } if address == dead),
            "{error}"
        );
        assert!(matches!(connect(&[]).await, Err(Error::NoAddress)));
    }
}
