//! One connection between an agent and a server, over either transport: streams are opened and accepted, and it ends
//! with a code.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quinn::VarInt;

use super::credit::{Budget, Credit, Terms};
use super::http2;
use super::stream::{Receiver, Sender};
use crate::config::net::Quic;
use crate::protocol::code::Code;
use crate::protocol::control;

/// What carries a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// QUIC over UDP.
    Quic,
    /// HTTP/2 over TLS and TCP.
    Http2,
}

impl Transport {
    /// Its name in settings, logs, metrics and `/status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Http2 => "http2",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A connection. Clones are the same connection.
#[derive(Debug, Clone)]
pub struct Connection {
    inner: Inner,
    credit: Arc<OnceLock<Arc<Credit>>>,
}

#[derive(Debug, Clone)]
enum Inner {
    Quic(quinn::Connection),
    Http2(http2::Link),
}

/// How a connection ended.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason} ({code})")]
pub struct Closed {
    /// The peer's code, if the peer closed it; else what comes nearest.
    pub code: Code,
    /// What happened, in words.
    pub reason: String,
    /// Whether the peer itself said so, as opposed to falling silent.
    pub said: bool,
}

impl Connection {
    /// The connection of a QUIC handshake that the server accepted.
    pub fn accepted(connection: quinn::Connection) -> Self {
        Self::new(Inner::Quic(connection))
    }

    pub(super) fn http2(link: http2::Link) -> Self {
        Self::new(Inner::Http2(link))
    }

    fn new(inner: Inner) -> Self {
        Self {
            inner,
            credit: Arc::default(),
        }
    }

    /// Streams that are opened or accepted from now on keep to credit, as the peer does that takes `peer_first` bytes of each
    /// unasked; the transport alone bounds them when the peer knows of no credit. What this end takes unasked, for the peer.
    pub fn agree(&self, quic: &Quic, peer_first: Option<u64>, budget: &Arc<Budget>) -> Option<u64> {
        let Some(peer_first) = peer_first.filter(|first| *first > 0) else {
            if let Inner::Quic(connection) = &self.inner {
                connection.set_receive_window(VarInt::MAX);
            }
            return None;
        };
        if let Inner::Http2(link) = &self.inner {
            link.widen(quic);
        }
        let terms = Terms::new(quic, peer_first);
        // A connection's terms are agreed on once.
        let _ = self.credit.set(Credit::new(terms, Arc::clone(budget)));
        Some(terms.first)
    }

    /// News for the peer of its streams' credit, once there is any. Losing a race loses nothing.
    pub async fn credit_news(&self) -> control::Credit {
        match self.credit() {
            Some(credit) => {
                credit.measured(self.rtt());
                credit.news().await
            }
            None => std::future::pending().await,
        }
    }

    /// What the peer tells of its streams' credit.
    pub fn hear_credit(&self, news: &control::Credit) {
        if let Some(credit) = self.credit() {
            credit.hear(news);
        }
    }

    /// The credit of its streams, where the peer knows of it.
    pub fn credit(&self) -> Option<&Arc<Credit>> {
        self.credit.get()
    }

    /// What carries it.
    pub fn transport(&self) -> Transport {
        match &self.inner {
            Inner::Quic(_) => Transport::Quic,
            Inner::Http2(_) => Transport::Http2,
        }
    }

    /// Opens a stream; waits while the peer's limit of streams is reached. The agent's one stream is the control stream.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn open(&self) -> Result<(Sender, Receiver), Closed> {
        let halves = match &self.inner {
            Inner::Quic(connection) => {
                let (sender, receiver) = connection.open_bi().await?;
                (Sender::quic(sender), Receiver::quic(receiver))
            }
            Inner::Http2(link) => link.open().await?,
        };
        Ok(self.metered(halves))
    }

    /// The next stream that the peer opens. The server accepts one, the control stream.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn accept(&self) -> Result<(Sender, Receiver), Closed> {
        let halves = match &self.inner {
            Inner::Quic(connection) => {
                let (sender, receiver) = connection.accept_bi().await?;
                (Sender::quic(sender), Receiver::quic(receiver))
            }
            Inner::Http2(link) => link.accept().await?,
        };
        Ok(self.metered(halves))
    }

    fn metered(&self, (sender, receiver): (Sender, Receiver)) -> (Sender, Receiver) {
        let credit = self.credit.get();
        (sender.metered(credit), receiver.metered(credit))
    }

    /// Waits for the end.
    pub async fn closed(&self) -> Closed {
        match &self.inner {
            Inner::Quic(connection) => connection.closed().await.into(),
            Inner::Http2(link) => link.closed().await,
        }
    }

    /// Ends the connection and every stream on it.
    pub fn close(&self, code: Code, reason: &str) {
        match &self.inner {
            Inner::Quic(connection) => connection.close(code.into(), reason.as_bytes()),
            Inner::Http2(link) => link.close(code, reason),
        }
    }

    /// Where the peer is now; over QUIC it may change (RFC 9000, section 9).
    pub fn remote_address(&self) -> SocketAddr {
        match &self.inner {
            Inner::Quic(connection) => connection.remote_address(),
            Inner::Http2(link) => link.remote_address(),
        }
    }

    /// The current estimate of the round trip.
    pub fn rtt(&self) -> Duration {
        match &self.inner {
            Inner::Quic(connection) => connection.rtt(),
            Inner::Http2(link) => link.rtt(),
        }
    }
}

impl From<Code> for VarInt {
    fn from(code: Code) -> Self {
        Self::from_u32(code as u32)
    }
}

impl From<quinn::ConnectionError> for Closed {
    fn from(error: quinn::ConnectionError) -> Self {
        let code = match &error {
            quinn::ConnectionError::ApplicationClosed(close) => {
                Code::from_number(close.error_code.into_inner())
            }
            quinn::ConnectionError::LocallyClosed => Code::Done,
            quinn::ConnectionError::Reset => Code::Restarting,
            quinn::ConnectionError::TimedOut => Code::Deadline,
            _ => Code::Protocol,
        };
        let reason = match &error {
            quinn::ConnectionError::ApplicationClosed(close) => {
                String::from_utf8_lossy(&close.reason).into_owned()
            }
            other => other.to_string(),
        };
        let said = matches!(error, quinn::ConnectionError::ApplicationClosed(_));
        Self { code, reason, said }
    }
}
