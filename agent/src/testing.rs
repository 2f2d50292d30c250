//! For tests: a tunnel's two ends in one process, and the server's side of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ci_tunnel::config::net::Quic;
use ci_tunnel::protocol::codec::Malformed;
use ci_tunnel::protocol::control::Message;
use ci_tunnel::protocol::frame::Kind;
use ci_tunnel::protocol::head::{Failure, RequestHead, RequestKind, ResponseHead};
use ci_tunnel::protocol::identity::KubernetesIdentity;
use ci_tunnel::protocol::{ALPN, MAX_CONTROL_FRAME, MAX_HEAD_FRAME};
use ci_tunnel::transport::connection::Connection;
use ci_tunnel::transport::endpoint::{self, Keys};
use ci_tunnel::transport::stream::{self, Piece, Receiver, Sender};
use ci_tunnel::transport::tls::{ServerIdentity, Trust};
use http::{HeaderMap, HeaderValue, Method};

use crate::connect::{Choice, Proxies, Server};

/// The id that the agent has in tests.
pub(crate) const AGENT: u64 = 7;

/// The server's end.
pub(crate) struct Listener {
    endpoint: quinn::Endpoint,
    identity: ServerIdentity,
    _dir: tempfile::TempDir,
}

impl Listener {
    pub(crate) fn bind() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let identity = ServerIdentity::made_in(dir.path(), &["localhost".to_owned()]).unwrap();
        let tls = identity.server_config(&[ALPN]).unwrap();
        let keys = Keys {
            stateless_reset: [1; 32],
            address_token: [2; 32],
        };
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let endpoint = endpoint::server(any, &Quic::default(), tls, &keys).unwrap();
        Self {
            endpoint,
            identity,
            _dir: dir,
        }
    }

    /// What an agent needs to find it.
    pub(crate) fn server(&self) -> Server {
        Server {
            host: "127.0.0.1".to_owned(),
            port: self.endpoint.local_addr().unwrap().port(),
            name: "localhost".to_owned(),
            trust: Trust::Pin(self.identity.pin()),
            quic: Quic::default(),
            choice: Choice::Quic,
            proxies: Proxies::none(),
            quic_retry: Duration::from_secs(300),
        }
    }

    pub(crate) async fn accept(&self) -> Connection {
        Connection::accepted(self.endpoint.accept().await.unwrap().await.unwrap())
    }

    /// Accepts a connection and its control stream, with the hello already read.
    pub(crate) async fn accept_hello(&self) -> (Connection, Control) {
        let connection = self.accept().await;
        let control = Control::accept(&connection).await;
        (connection, control)
    }
}

/// The server's end of a control stream.
pub(crate) struct Control {
    sender: Sender,
    receiver: Receiver,
}

impl Control {
    /// The control stream of a new connection, with the hello already read.
    pub(crate) async fn accept(connection: &Connection) -> Self {
        let (sender, receiver) = connection.accept().await.unwrap();
        let mut control = Self { sender, receiver };
        let hello = control.next().await.unwrap();
        assert!(
            matches!(&hello, Message::Hello(hello) if hello.token == "t0ken"),
            "{hello:?}"
        );
        control
    }

    pub(crate) async fn send(&mut self, message: Message) {
        let mut out = BytesMut::new();
        message.encode(&mut out);
        self.sender.write(out.freeze()).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Result<Message, stream::Error> {
        let (kind, payload) = self
            .receiver
            .frame(MAX_CONTROL_FRAME)
            .await?
            .ok_or(Malformed::Truncated)?;
        Ok(Message::decode(kind, payload)?.unwrap())
    }

    /// The next message that `wanted` accepts.
    pub(crate) async fn find(&mut self, wanted: impl Fn(&Message) -> bool) -> Message {
        loop {
            let message = self.next().await.unwrap();
            if wanted(&message) {
                return message;
            }
        }
    }
}

/// Both ends of one connection: the server's, the agent's.
pub(crate) async fn pair(listener: &Listener) -> (Connection, Connection) {
    let server = listener.server();
    let (ours, mut theirs) = tokio::join!(listener.accept(), crate::connect::probe(&server));
    (ours, theirs.pop().unwrap().outcome.unwrap())
}

/// A head as the server sends it.
pub(crate) fn head(target: &'static str, kind: RequestKind) -> RequestHead {
    RequestHead {
        agent: AGENT,
        request_id: "r1".to_owned(),
        method: if kind == RequestKind::Body {
            Method::POST
        } else {
            Method::GET
        },
        target: Bytes::from_static(target.as_bytes()),
        headers: HeaderMap::new(),
        kind,
        identity: KubernetesIdentity::Agent,
    }
}

pub(crate) fn upgrade(target: &'static str, protocol: &'static str) -> RequestHead {
    head(
        target,
        RequestKind::Upgrade(HeaderValue::from_static(protocol)),
    )
}

/// Sends a head; a request without a body ends here.
pub(crate) async fn ask(server: &Connection, head: &RequestHead) -> (Sender, Receiver) {
    let (mut sender, receiver) = server.open().await.unwrap();
    let mut out = BytesMut::new();
    head.encode(&mut out).unwrap();
    sender.write(out.freeze()).await.unwrap();
    if head.kind == RequestKind::Empty {
        sender.finish();
    }
    (sender, receiver)
}

/// What the agent answers first.
pub(crate) async fn answer(receiver: &mut Receiver) -> Result<ResponseHead, Failure> {
    let (kind, payload) = receiver.frame(MAX_HEAD_FRAME).await.unwrap().unwrap();
    if kind == Kind::Failure as u64 {
        return Err(Failure::decode(payload).unwrap());
    }
    assert_eq!(kind, Kind::ResponseHead as u64);
    Ok(ResponseHead::decode(payload).unwrap())
}

/// The rest of a response: its body and trailers, or how it was cut.
pub(crate) async fn rest(
    receiver: &mut Receiver,
) -> Result<(Vec<u8>, Option<HeaderMap>), stream::Error> {
    let (mut body, mut trailers) = (Vec::new(), None);
    while let Some(piece) = receiver.body().await? {
        match piece {
            Piece::Data(data) => body.extend_from_slice(&data),
            Piece::Trailers(found) => trailers = Some(found),
        }
    }
    Ok((body, trailers))
}

/// Metrics that nobody reads.
pub(crate) fn metrics() -> Arc<crate::metrics::Metrics> {
    crate::metrics::Metrics::new(&mut prometheus_client::registry::Registry::default())
}
