//! The messages of the control stream.

mod credit;
mod fields;

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::code::Code;
use super::codec::{Malformed, Writer};
use super::frame::{self, Kind};
pub use credit::{Credit, MAX_CREDITS};
use fields::Fields;

/// A message of the control stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Agent → server, first: who connects.
    Hello(Hello),
    /// Server → agent: admitted.
    Welcome(Welcome),
    /// Server → agent: not admitted.
    Refused(Refused),
    /// Answer with [`Message::Pong`] of the same number.
    Ping(u64),
    /// The answer to a ping.
    Pong(u64),
    /// The sender wants no new requests on this connection; what runs may run on for this long.
    Drain {
        /// How long running requests have.
        grace: Duration,
    },
    /// Agent → server: whether its API server answers.
    Health(Health),
    /// Server → agent: settings from the agent's configuration file.
    Configure(Configure),
    /// Over HTTP/2, on a stream of its own: what CONNECTION_CLOSE says over QUIC.
    Close(Close),
    /// Either way: what may be sent on request streams.
    Credit(Credit),
}

/// Why a connection is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// For the program.
    pub code: Code,
    /// For the person who reads the log.
    pub reason: String,
}

/// Who connects.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Hello {
    /// The agent token. A secret: `Debug` does not print it.
    pub token: String,
    /// Random, the same for all connections of one agent process.
    pub instance: u64,
    /// The agent's version.
    pub version: String,
    /// The agent's pod, if it runs in one.
    pub pod: Option<String>,
    /// The API server's version, if it could be asked yet.
    pub kubernetes_version: Option<String>,
    /// The agent only wants to know whether it would be admitted: no request may be sent over the connection.
    pub probe: bool,
    /// The most requests at a time; unknown from older agents.
    pub max_streams: Option<u64>,
    /// Bytes of each request stream that may be sent to the agent without its credit; `None` from agents that know no
    /// credit.
    pub first_credit: Option<u64>,
}

impl std::fmt::Debug for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello")
            .field("instance", &self.instance)
            .field("version", &self.version)
            .field("pod", &self.pod)
            .field("kubernetes_version", &self.kubernetes_version)
            .field("probe", &self.probe)
            .field("max_streams", &self.max_streams)
            .field("first_credit", &self.first_credit)
            .finish_non_exhaustive()
    }
}

/// The server's answer to an agent it admits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Welcome {
    /// The agent's id; request heads name it again, and the agent refuses any other.
    pub agent: u64,
    /// The number of this session, for logs.
    pub session: u64,
    /// The server's version.
    pub version: String,
    /// Bytes of each request stream that may be sent to the server without its credit; `None`: credit is not used.
    pub first_credit: Option<u64>,
}

/// The server's answer to an agent it does not admit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why, for the program.
    pub code: Code,
    /// Why, for the person who reads the agent's log.
    pub message: String,
    /// Try again no sooner than this.
    pub retry_after: Duration,
}

/// Whether the agent's API server answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// It answered the last probe.
    pub ready: bool,
    /// Its version, or why it did not answer.
    pub message: String,
}

/// What the server wishes of an agent for now, and how it sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Configure {
    /// `debug`, `info`, `warn` or `error`: `observability` in the agent's configuration file.
    pub log_level: Option<String>,
    /// How often the agent is to ask for a sign of life.
    pub ping_every: Option<Duration>,
    /// Why requests go to other sessions of the agent, if there are any.
    pub set_aside: Option<String>,
}

impl Message {
    /// Appends the message as a frame.
    pub fn encode(&self, out: &mut BytesMut) {
        frame::put(out, self.kind(), |payload| {
            self.encode_fields(&mut Writer::new(payload))
        });
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Kind::Hello,
            Self::Welcome(_) => Kind::Welcome,
            Self::Refused(_) => Kind::Refused,
            Self::Ping(_) => Kind::Ping,
            Self::Pong(_) => Kind::Pong,
            Self::Drain { .. } => Kind::Drain,
            Self::Health(_) => Kind::Health,
            Self::Configure(_) => Kind::Configure,
            Self::Close(_) => Kind::Close,
            Self::Credit(_) => Kind::Credit,
        }
    }

    fn encode_fields(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Hello(hello) => {
                writer.bytes(1, hello.token.as_bytes());
                writer.bytes(2, &hello.instance.to_be_bytes());
                writer.bytes(3, hello.version.as_bytes());
                writer.optional(4, hello.pod.as_deref());
                writer.optional(5, hello.kubernetes_version.as_deref());
                if hello.probe {
                    writer.number(6, 1);
                }
                writer.optional_number(7, hello.max_streams);
                writer.optional_number(8, hello.first_credit);
            }
            Self::Welcome(welcome) => {
                writer.number(1, welcome.agent);
                writer.number(2, welcome.session);
                writer.bytes(3, welcome.version.as_bytes());
                writer.optional_number(4, welcome.first_credit);
            }
            Self::Refused(refused) => {
                writer.number(1, u64::from(refused.code as u32));
                writer.bytes(2, refused.message.as_bytes());
                writer.number(3, millis(refused.retry_after));
            }
            Self::Ping(sequence) | Self::Pong(sequence) => writer.number(1, *sequence),
            Self::Drain { grace } => writer.number(1, millis(*grace)),
            Self::Health(health) => {
                writer.number(1, u64::from(health.ready));
                writer.bytes(2, health.message.as_bytes());
            }
            Self::Configure(configure) => {
                writer.optional(1, configure.log_level.as_deref());
                if let Some(every) = configure.ping_every {
                    writer.number(2, millis(every));
                }
                writer.optional(3, configure.set_aside.as_deref());
            }
            Self::Close(close) => {
                writer.number(1, u64::from(close.code as u32));
                writer.bytes(2, close.reason.as_bytes());
            }
            Self::Credit(credit) => credit.encode(writer),
        }
    }

    /// Reads the message of a frame; `Ok(None)` for a kind we do not know, which a newer peer may send.
    ///
    /// # Errors
    /// A field is missing, too long or impossible; the kind belongs to another stream.
    pub fn decode(kind: u64, payload: Bytes) -> Result<Option<Self>, Malformed> {
        let Some(known) = Kind::from_number(kind) else {
            return Ok(None);
        };
        if known == Kind::Credit {
            return Credit::decode(payload).map(|credit| Some(Self::Credit(credit)));
        }
        let fields = Fields::read(payload)?;
        Ok(Some(match known {
            Kind::Hello => Self::Hello(Hello {
                token: fields.required(1, "token")?,
                instance: fields.instance()?,
                version: fields.required(3, "version")?,
                pod: fields.text(4, "pod")?,
                kubernetes_version: fields.text(5, "kubernetes version")?,
                probe: fields.0[6].is_some() && fields.number(6, "probe")? == 1,
                max_streams: fields.optional_number(7, "max streams")?,
                first_credit: fields.optional_number(8, "first credit")?,
            }),
            Kind::Welcome => Self::Welcome(Welcome {
                agent: fields.number(1, "agent")?,
                session: fields.number(2, "session")?,
                version: fields.required(3, "version")?,
                first_credit: fields.optional_number(4, "first credit")?,
            }),
            Kind::Refused => Self::Refused(Refused {
                code: Code::from_number(fields.number(1, "code")?),
                message: fields.text(2, "message")?.unwrap_or_default(),
                retry_after: Duration::from_millis(fields.number(3, "retry after")?),
            }),
            Kind::Ping => Self::Ping(fields.number(1, "sequence")?),
            Kind::Pong => Self::Pong(fields.number(1, "sequence")?),
            Kind::Drain => Self::Drain {
                grace: Duration::from_millis(fields.number(1, "grace")?),
            },
            Kind::Health => Self::Health(Health {
                ready: fields.number(1, "ready")? == 1,
                message: fields.text(2, "message")?.unwrap_or_default(),
            }),
            Kind::Configure => Self::Configure(Configure {
                log_level: fields.text(1, "log level")?,
                ping_every: fields.millis(2, "ping every")?,
                set_aside: fields.text(3, "set aside")?,
            }),
            Kind::Close => Self::Close(Close {
                code: Code::from_number(fields.number(1, "code")?),
                reason: fields.text(2, "reason")?.unwrap_or_default(),
            }),
            Kind::Credit
            | Kind::Data
            | Kind::RequestHead
            | Kind::ResponseHead
            | Kind::Trailers
            | Kind::Failure => {
                return Err(Malformed::UnexpectedFrame(kind));
            }
        }))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
