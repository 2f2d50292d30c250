//! Why an attempt to connect gave no session.

use std::net::SocketAddr;

use ci_tunnel::protocol::code::Code;
use ci_tunnel::transport::{endpoint, tcp, tls};

use super::{proxy, quic};
use crate::session;

/// Why an attempt gave no session.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("DNS: {host}: {source}")]
    Resolve {
        host: String,
        source: std::io::Error,
    },
    #[error("DNS gave no answer for {host} in {after} s")]
    ResolveLate { host: String, after: u64 },
    #[error("DNS knows no address of {host}")]
    NoAddress { host: String },
    #[error("trust in the server: {0}")]
    Trust(#[from] tls::Error),
    #[error(transparent)]
    Endpoint(#[from] endpoint::Error),
    #[error("no QUIC connection to {address} in {} s: does UDP to it get through?", quic::HANDSHAKE_DEADLINE.as_secs())]
    HandshakeLate { address: SocketAddr },
    #[error("no {phase} connection to {server} in 10 s: does TCP to it get through?")]
    TcpLate { server: String, phase: &'static str },
    #[error(transparent)]
    Tcp(#[from] tcp::Error),
    #[error("TCP: {0}")]
    Socket(std::io::Error),
    #[error("no HTTP/2 connection: {0}")]
    Http2(#[from] h2::Error),
    #[error(transparent)]
    Proxy(#[from] proxy::Error),
    #[error("neither by QUIC ({quic}) nor by HTTP/2 ({tcp})")]
    Neither { quic: Box<Self>, tcp: Box<Self> },
    #[error(transparent)]
    Session(#[from] session::Error),
}

impl Error {
    /// Whether the server's machine says that nothing listens there, as while the server restarts.
    pub(super) fn nobody_listens(&self) -> bool {
        match self {
            Self::Tcp(tcp::Error::Connect { source, .. }) => {
                source.kind() == std::io::ErrorKind::ConnectionRefused
            }
            Self::Neither { tcp, .. } => tcp.nobody_listens(),
            _ => false,
        }
    }

    /// Whether nothing came back at all.
    pub(super) fn is_silence(&self) -> bool {
        match self {
            Self::HandshakeLate { .. } | Self::TcpLate { .. } => true,
            Self::Neither { quic, tcp } => quic.is_silence() && tcp.is_silence(),
            _ => false,
        }
    }

    /// Whether the server lives and takes no more agents for now. That says nothing of the network.
    pub(super) fn is_busy(&self) -> bool {
        match self {
            Self::Endpoint(error) => error.is_refusal(),
            Self::Session(error) => error.code() == Some(Code::Overloaded),
            _ => false,
        }
    }

    /// Whether the server itself said no.
    pub(super) fn shows_life(&self) -> bool {
        match self {
            Self::Session(session::Error::Refused(_)) => true,
            Self::Session(error) => error.code().is_some_and(Code::waits_for_a_person),
            _ => self.is_busy(),
        }
    }

    /// Its name in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            _ if self.is_busy() => Code::Overloaded.name(),
            Self::Resolve { .. } | Self::ResolveLate { .. } | Self::NoAddress { .. } => "dns",
            Self::Endpoint(_) | Self::Trust(_) | Self::Tcp(_) | Self::Socket(_) => "handshake",
            Self::Http2(_) => "handshake",
            Self::HandshakeLate { .. } | Self::TcpLate { .. } => "timeout",
            Self::Proxy(_) => "proxy",
            // The way that is to be there everywhere tells more.
            Self::Neither { tcp, .. } => tcp.name(),
            Self::Session(error) => error.code().map_or("hello", Code::name),
        }
    }
}
