//! The heads of request streams: what is asked, as whom; what came back, or why nothing did.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::codec::{Malformed, Reader, Writer, number, pair, text};
use super::frame::{self, Kind};
use super::identity::{Impersonation, KubernetesIdentity};
use super::{MAX_HEAD_FRAME, MAX_HEADERS};

/// The head of a request, from the server to the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// The agent this request is for; an agent refuses what is meant for another.
    pub agent: u64,
    /// The request's id, for logs on both sides.
    pub request_id: String,
    /// The method.
    pub method: Method,
    /// Path and query exactly as the client wrote them.
    pub target: Bytes,
    /// The headers that may travel. Never credentials, identities or hop-by-hop headers.
    pub headers: HeaderMap,
    /// What the client sends and expects.
    pub kind: RequestKind,
    /// As whom the request runs in the cluster.
    pub identity: KubernetesIdentity,
}

/// What the client sends and expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestKind {
    /// No body at all: the agent must not make one up, not even an empty chunked one.
    Empty,
    /// A body follows.
    Body,
    /// No body; the client asks to switch to this protocol (the `Upgrade` header's value). After a response head of
    /// status 101 both directions carry raw bytes.
    Upgrade(HeaderValue),
}

/// The head of a response, from the agent to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The API server's status.
    pub status: StatusCode,
    /// The API server's headers, less hop-by-hop ones.
    pub headers: HeaderMap,
    /// For status 101: the protocol both sides switch to.
    pub upgrade: Option<HeaderValue>,
}

/// Why there is no response head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What failed.
    pub cause: Cause,
    /// A sentence for the person who made the request.
    pub message: String,
}

/// What kept an agent from getting a response head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Cause {
    /// The API server could not be reached, or closed the connection before a head.
    Unreachable = 1,
    /// The API server's certificate is not trusted.
    Untrusted = 2,
    /// No response head in time.
    Timeout = 3,
    /// The agent will not carry this request (identity headers in it, meant for another agent).
    Refused = 4,
    /// The API server answered an upgrade with another protocol than the one asked for, or with bytes that are not HTTP.
    BadUpgrade = 5,
    /// The agent's own credentials for the API server are missing or unusable.
    Credentials = 6,
    /// The agent has no room for more requests.
    Busy = 7,
    /// Something failed inside the agent.
    Internal = 8,
}

impl Cause {
    fn from_number(number: u64) -> Self {
        [
            Self::Unreachable,
            Self::Untrusted,
            Self::Timeout,
            Self::Refused,
            Self::BadUpgrade,
            Self::Credentials,
            Self::Busy,
        ]
        .into_iter()
        .find(|cause| *cause as u64 == number)
        .unwrap_or(Self::Internal)
    }
}

mod request {
    pub(super) const AGENT: u64 = 1;
    pub(super) const REQUEST_ID: u64 = 2;
    pub(super) const METHOD: u64 = 3;
    pub(super) const TARGET: u64 = 4;
    pub(super) const HEADER: u64 = 5;
    pub(super) const KIND: u64 = 6;
    pub(super) const UPGRADE: u64 = 7;
    pub(super) const IMPERSONATION: u64 = 8;
    pub(super) const IDENTITY: u64 = 9;
}

mod response {
    pub(super) const STATUS: u64 = 1;
    pub(super) const HEADER: u64 = 2;
    pub(super) const UPGRADE: u64 = 3;
}

const KIND_EMPTY: u64 = 0;
const KIND_BODY: u64 = 1;
const KIND_UPGRADE: u64 = 2;

const IDENTITY_AGENT: u64 = 0;
const IDENTITY_IMPERSONATE: u64 = 1;

impl RequestHead {
    /// Appends the head as a frame.
    ///
    /// # Errors
    /// The head is longer, or has more headers, than the peer would accept.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), Malformed> {
        put_head(out, Kind::RequestHead, &self.headers, |payload| {
            let mut writer = Writer::new(payload);
            writer.number(request::AGENT, self.agent);
            writer.bytes(request::REQUEST_ID, self.request_id.as_bytes());
            writer.bytes(request::METHOD, self.method.as_str().as_bytes());
            writer.bytes(request::TARGET, &self.target);
            put_headers(&mut writer, request::HEADER, &self.headers);
            match &self.kind {
                RequestKind::Empty => writer.number(request::KIND, KIND_EMPTY),
                RequestKind::Body => writer.number(request::KIND, KIND_BODY),
                RequestKind::Upgrade(protocol) => {
                    writer.number(request::KIND, KIND_UPGRADE);
                    writer.bytes(request::UPGRADE, protocol.as_bytes());
                }
            }
            match &self.identity {
                KubernetesIdentity::Agent => writer.number(request::IDENTITY, IDENTITY_AGENT),
                KubernetesIdentity::Impersonate(impersonation) => {
                    writer.number(request::IDENTITY, IDENTITY_IMPERSONATE);
                    let mut fields = BytesMut::new();
                    impersonation.encode(&mut fields);
                    writer.bytes(request::IMPERSONATION, &fields);
                }
            }
        })
    }

    /// Reads a head from a frame's payload.
    ///
    /// # Errors
    /// A field is missing, impossible or over its limit. A head without an identity is refused: an identity that got
    /// lost must never become the agent's own.
    pub fn decode(payload: Bytes) -> Result<Self, Malformed> {
        Self::decode_by(payload, |identity| {
            Impersonation::decode(identity).map(Arc::new)
        })
    }

    /// As [`Self::decode`], for who remembers identities: `identity` gives what [`Impersonation::decode`] makes of the
    /// same bytes.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_by(
        payload: Bytes,
        identity: impl Fn(Bytes) -> Result<Arc<Impersonation>, Malformed>,
    ) -> Result<Self, Malformed> {
        let mut head = RequestFields::default();
        let mut reader = Reader::new(payload);
        while let Some((tag, value)) = reader.field()? {
            if tag == request::IMPERSONATION {
                head.impersonation = Some(identity(value)?);
            } else {
                head.take(tag, &value)?;
            }
        }
        head.finish()
    }
}

#[derive(Default)]
struct RequestFields {
    agent: Option<u64>,
    request_id: Option<String>,
    method: Option<Method>,
    target: Option<Bytes>,
    headers: HeaderMap,
    kind: Option<u64>,
    upgrade: Option<HeaderValue>,
    identity: Option<u64>,
    impersonation: Option<Arc<Impersonation>>,
}

impl RequestFields {
    fn take(&mut self, tag: u64, value: &Bytes) -> Result<(), Malformed> {
        match tag {
            request::AGENT => self.agent = Some(number("agent", value)?),
            request::REQUEST_ID => self.request_id = Some(text("request id", value, 128)?),
            request::METHOD => {
                self.method =
                    Some(Method::from_bytes(value).map_err(|_| Malformed::Invalid("method"))?);
            }
            request::TARGET => self.target = Some(target(value)?),
            request::HEADER => take_header(&mut self.headers, value)?,
            request::KIND => self.kind = Some(number("kind", value)?),
            request::UPGRADE => self.upgrade = Some(header_value("upgrade", value)?),
            request::IDENTITY => self.identity = Some(number("identity", value)?),
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<RequestHead, Malformed> {
        let kind = match (self.kind.ok_or(Malformed::Missing("kind"))?, self.upgrade) {
            (KIND_EMPTY, None) => RequestKind::Empty,
            (KIND_BODY, None) => RequestKind::Body,
            (KIND_UPGRADE, Some(protocol)) => RequestKind::Upgrade(protocol),
            _ => return Err(Malformed::Invalid("kind")),
        };
        let identity = match (
            self.identity.ok_or(Malformed::Missing("identity"))?,
            self.impersonation,
        ) {
            (IDENTITY_AGENT, None) => KubernetesIdentity::Agent,
            (IDENTITY_IMPERSONATE, Some(impersonation)) => {
                KubernetesIdentity::Impersonate(impersonation)
            }
            _ => return Err(Malformed::Invalid("identity")),
        };
        Ok(RequestHead {
            agent: self.agent.ok_or(Malformed::Missing("agent"))?,
            request_id: self.request_id.ok_or(Malformed::Missing("request id"))?,
            method: self.method.ok_or(Malformed::Missing("method"))?,
            target: self.target.ok_or(Malformed::Missing("target"))?,
            headers: self.headers,
            kind,
            identity,
        })
    }
}

impl ResponseHead {
    /// Appends the head as a frame.
    ///
    /// # Errors
    /// The head is longer, or has more headers, than the peer would accept.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), Malformed> {
        put_head(out, Kind::ResponseHead, &self.headers, |payload| {
            let mut writer = Writer::new(payload);
            writer.number(response::STATUS, u64::from(self.status.as_u16()));
            put_headers(&mut writer, response::HEADER, &self.headers);
            if let Some(protocol) = &self.upgrade {
                writer.bytes(response::UPGRADE, protocol.as_bytes());
            }
        })
    }

    /// Reads a head from a frame's payload.
    ///
    /// # Errors
    /// A field is missing, impossible or over its limit.
    pub fn decode(payload: Bytes) -> Result<Self, Malformed> {
        let mut status = None;
        let mut headers = HeaderMap::new();
        let mut upgrade = None;
        let mut reader = Reader::new(payload);
        while let Some((tag, value)) = reader.field()? {
            match tag {
                response::STATUS => {
                    let number = u16::try_from(number("status", &value)?)
                        .map_err(|_| Malformed::Invalid("status"))?;
                    status = Some(
                        StatusCode::from_u16(number).map_err(|_| Malformed::Invalid("status"))?,
                    );
                }
                response::HEADER => take_header(&mut headers, &value)?,
                response::UPGRADE => upgrade = Some(header_value("upgrade", &value)?),
                _ => {}
            }
        }
        let status = status.ok_or(Malformed::Missing("status"))?;
        if (status == StatusCode::SWITCHING_PROTOCOLS) != upgrade.is_some() {
            return Err(Malformed::Invalid("upgrade"));
        }
        Ok(Self {
            status,
            headers,
            upgrade,
        })
    }
}

impl Failure {
    /// Appends the failure as a frame.
    pub fn encode(&self, out: &mut BytesMut) {
        frame::put(out, Kind::Failure, |payload| {
            let mut writer = Writer::new(payload);
            writer.number(1, self.cause as u64);
            writer.bytes(2, self.message.as_bytes());
        });
    }

    /// Reads a failure from a frame's payload.
    ///
    /// # Errors
    /// A field is missing or over its limit.
    pub fn decode(payload: Bytes) -> Result<Self, Malformed> {
        let mut cause = None;
        let mut message = String::new();
        let mut reader = Reader::new(payload);
        while let Some((tag, value)) = reader.field()? {
            match tag {
                1 => cause = Some(Cause::from_number(number("cause", &value)?)),
                2 => message = text("message", &value, 2048)?,
                _ => {}
            }
        }
        Ok(Self {
            cause: cause.ok_or(Malformed::Missing("cause"))?,
            message,
        })
    }
}

/// Appends trailers as a frame.
///
/// # Errors
/// They are longer, or more, than the peer would accept.
pub fn encode_trailers(trailers: &HeaderMap, out: &mut BytesMut) -> Result<(), Malformed> {
    put_head(out, Kind::Trailers, trailers, |payload| {
        put_headers(&mut Writer::new(payload), 1, trailers)
    })
}

/// Reads trailers from a frame's payload.
///
/// # Errors
/// A name or a value is not one, or there are too many.
pub fn decode_trailers(payload: Bytes) -> Result<HeaderMap, Malformed> {
    let mut trailers = HeaderMap::new();
    let mut reader = Reader::new(payload);
    while let Some((tag, value)) = reader.field()? {
        if tag == 1 {
            take_header(&mut trailers, &value)?;
        }
    }
    Ok(trailers)
}

fn put_head(
    out: &mut BytesMut,
    kind: Kind,
    headers: &HeaderMap,
    write: impl FnOnce(&mut BytesMut),
) -> Result<(), Malformed> {
    if headers.len() > MAX_HEADERS {
        return Err(Malformed::TooMany {
            what: "headers",
            limit: MAX_HEADERS,
        });
    }
    let start = out.len();
    frame::put(out, kind, write);
    let length = (out.len() - start) as u64;
    if length > MAX_HEAD_FRAME {
        out.truncate(start);
        return Err(Malformed::TooLong {
            what: "a head",
            length,
            limit: MAX_HEAD_FRAME,
        });
    }
    Ok(())
}

fn put_headers(writer: &mut Writer<'_>, tag: u64, headers: &HeaderMap) {
    for (name, value) in headers {
        writer.pair(tag, name.as_str().as_bytes(), value.as_bytes());
    }
}

fn take_header(headers: &mut HeaderMap, field: &Bytes) -> Result<(), Malformed> {
    if headers.len() == MAX_HEADERS {
        return Err(Malformed::TooMany {
            what: "headers",
            limit: MAX_HEADERS,
        });
    }
    let (name, value) = pair("header", field)?;
    let name = HeaderName::from_bytes(&name).map_err(|_| Malformed::Invalid("header name"))?;
    headers.append(name, header_value("header value", &value)?);
    Ok(())
}

fn header_value(name: &'static str, value: &Bytes) -> Result<HeaderValue, Malformed> {
    HeaderValue::from_maybe_shared(value.clone()).map_err(|_| Malformed::Invalid(name))
}

/// A target begins with a slash: it can name a path on the agent's one API server, never another host.
fn target(value: &Bytes) -> Result<Bytes, Malformed> {
    if value.first() == Some(&b'/')
        && value
            .iter()
            .all(|byte| (0x21..0x7f).contains(byte) || *byte >= 0x80)
    {
        Ok(value.clone())
    } else {
        Err(Malformed::Invalid("target"))
    }
}
