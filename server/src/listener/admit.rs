//! Hello → token check → welcome, or a refusal that says why.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use ci_tunnel::protocol::MAX_CONTROL_FRAME;
use ci_tunnel::protocol::code::Code;
use ci_tunnel::protocol::control::{Hello, Message, Refused, Welcome};
use ci_tunnel::transport::connection::Connection;
use ci_tunnel::transport::stream::{self, Receiver, Sender};
use ci_tunnel::transport::tcp;

use super::Listener;
use crate::agents::Session;
use crate::identity::Agent;
use crate::store::{AgentToken, AgentTokenRecord, Refusal};

/// An agent that is admitted: its session and its control stream.
#[derive(Debug)]
pub struct Admitted {
    pub session: Arc<Session>,
    pub agent: Agent,
    pub sender: Sender,
    pub receiver: Receiver,
}

/// Why an agent was not admitted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no QUIC handshake: {0}")]
    Quic(#[from] quinn::ConnectionError),
    #[error("no TLS over TCP: {0}")]
    Tls(#[from] tcp::Error),
    #[error("no HTTP/2: {0}")]
    Http2(#[from] h2::Error),
    #[error("the connection broke: {0}")]
    Stream(#[from] stream::Error),
    #[error("the first message is not a hello")]
    Protocol,
    #[error("no hello in time")]
    Deadline,
    #[error("{0}")]
    Token(Refusal),
    #[error("the token is not one of an agent")]
    NotAToken,
    #[error("the server has as many agent connections as it will take")]
    Overloaded,
}

/// How long a refused agent waits before it asks again, when nothing it does can help sooner.
const RETRY_REFUSED: Duration = Duration::from_secs(30);
/// The same when the server only has no room or no store for now: somewhere in between, so that those refused together do not
/// come back together.
const RETRY_BUSY: Range<u64> = 5_000..10_000;
/// For a refused agent to read why, and to close.
const GOODBYE: Duration = Duration::from_secs(2);

impl Error {
    /// Whether it took its leave, as a check does and the slower of the two ways that an agent tries at once.
    pub fn is_leaving(&self) -> bool {
        match self {
            Self::Stream(stream::Error::Lost(closed)) => closed.said,
            Self::Stream(stream::Error::Reset(code)) => *code == Code::Cancelled,
            _ => false,
        }
    }

    pub fn label(&self) -> &'static str {
        match self {
            Self::Quic(_) | Self::Tls(_) | Self::Http2(_) => "handshake",
            Self::Stream(_) if self.is_leaving() => "left",
            Self::Stream(_) => "stream",
            Self::Protocol => "protocol",
            Self::Deadline => "deadline",
            Self::Token(Refusal::Store(_)) => "store",
            Self::Token(_) | Self::NotAToken => "token",
            Self::Overloaded => "overloaded",
        }
    }

    /// What the agent is told; `None` when it can not be told anything.
    fn refusal(&self) -> Option<Refused> {
        let busy = Duration::from_millis(rand::random_range(RETRY_BUSY));
        let (code, retry_after) = match self {
            Self::Token(Refusal::Store(_)) => (Code::Internal, busy),
            Self::Token(_) | Self::NotAToken => (Code::TokenRejected, RETRY_REFUSED),
            Self::Overloaded => (Code::Overloaded, busy),
            Self::Protocol => (Code::Protocol, RETRY_REFUSED),
            Self::Quic(_) | Self::Tls(_) | Self::Http2(_) | Self::Stream(_) | Self::Deadline => {
                return None;
            }
        };
        let message = match self {
            // The store's error names files of this server.
            Self::Token(Refusal::Store(_)) => {
                "the server can not read its store; see its log".to_owned()
            }
            other => other.to_string(),
        };
        Some(Refused {
            code,
            message,
            retry_after,
        })
    }
}

/// Reads the hello and answers it.
///
/// # Errors
/// The agent is not admitted; it has been told why where that was possible.
pub async fn admit(
    listener: &Listener,
    connection: Connection,
    number: u64,
    room: bool,
) -> Result<Admitted, Error> {
    let (mut sender, mut receiver) = connection.accept().await.map_err(stream::Error::Lost)?;
    match check(listener, &mut receiver, room).await {
        Ok((hello, agent, token)) => {
            let quic = &listener.quic;
            let first_credit = connection.agree(quic, hello.first_credit, &listener.budget);
            let most = quic.max_streams as usize;
            let session = Session::new(number, &token, hello, connection, &listener.metrics, most);
            let welcome = Welcome {
                agent: agent.id.0,
                session: number,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                first_credit,
            };
            send(&mut sender, &Message::Welcome(welcome)).await?;
            Ok(Admitted {
                session: Arc::new(session),
                agent,
                sender,
                receiver,
            })
        }
        Err(error) => {
            if let Some(refused) = error.refusal() {
                say_goodbye(&connection, &mut sender, refused).await;
            }
            Err(error)
        }
    }
}

async fn check(
    listener: &Listener,
    receiver: &mut Receiver,
    room: bool,
) -> Result<(Hello, Agent, AgentTokenRecord), Error> {
    let Some(Message::Hello(hello)) = read(receiver).await? else {
        return Err(Error::Protocol);
    };
    if !room {
        return Err(Error::Overloaded);
    }
    let token: AgentToken = hello.token.parse().map_err(|_| Error::NotAToken)?;
    let (agent, record) = listener
        .store
        .verify_agent_token(&token, SystemTime::now())
        .await
        .map_err(Error::Token)?;
    Ok((hello, agent, record))
}

/// Sends the refusal and lets the agent close, so that the message is not overtaken by the close.
async fn say_goodbye(connection: &Connection, sender: &mut Sender, refused: Refused) {
    let code = refused.code;
    let reason = refused.message.clone();
    if send(sender, &Message::Refused(refused)).await.is_ok() {
        sender.finish();
        let _ = tokio::time::timeout(GOODBYE, connection.closed()).await;
    }
    connection.close(code, &reason);
}

/// Sends one message of the control stream.
pub(super) async fn send(sender: &mut Sender, message: &Message) -> Result<(), stream::Error> {
    let mut out = BytesMut::new();
    message.encode(&mut out);
    sender.write(out.freeze()).await
}

/// The next message that is known; `None` at the end of the stream.
pub(super) async fn read(receiver: &mut Receiver) -> Result<Option<Message>, stream::Error> {
    while let Some((kind, payload)) = receiver.frame(MAX_CONTROL_FRAME).await? {
        if let Some(message) = Message::decode(kind, payload)? {
            return Ok(Some(message));
        }
    }
    Ok(None)
}
