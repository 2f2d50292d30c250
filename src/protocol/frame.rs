//! Frames: a varint kind, a varint payload length, the payload.
//!
//! Heads and control messages are read whole ([`decode`]); DATA frames may be as long as the sender likes, so their
//! payload is handed on as it arrives ([`peek`]).

use bytes::{Buf, Bytes, BytesMut};

use super::codec::{Malformed, peek_varint, put_varint};

/// Every kind of frame. Numbers are never used again for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Kind {
    /// A piece of a body, on a request stream.
    Data = 0x00,
    /// The head of a request, first on a request stream, from the server.
    RequestHead = 0x01,
    /// The head of a response, first on a request stream, from the agent.
    ResponseHead = 0x02,
    /// The trailers of a body, last before FIN.
    Trailers = 0x03,
    /// In the place of a response head: the agent could not get one, and why.
    Failure = 0x04,
    /// Agent to server, first on the control stream.
    Hello = 0x10,
    /// Server to agent: admitted.
    Welcome = 0x11,
    /// Server to agent: not admitted, and why.
    Refused = 0x12,
    /// Either way: answer with a pong of the same number.
    Ping = 0x13,
    /// The answer to a ping.
    Pong = 0x14,
    /// Either way: no new requests here from now on.
    Drain = 0x15,
    /// Agent to server: whether its API server answers.
    Health = 0x16,
    /// Server to agent: settings from the agent's configuration file.
    Configure = 0x17,
    /// Either way, over HTTP/2 alone: the connection ends, and why.
    Close = 0x18,
    /// Either way: what may be sent on request streams beyond what is allowed from the begin.
    Credit = 0x19,
}

impl Kind {
    /// The kind of this number, if it is one of ours.
    pub fn from_number(number: u64) -> Option<Self> {
        const ALL: [Kind; 15] = [
            Kind::Data,
            Kind::RequestHead,
            Kind::ResponseHead,
            Kind::Trailers,
            Kind::Failure,
            Kind::Hello,
            Kind::Welcome,
            Kind::Refused,
            Kind::Ping,
            Kind::Pong,
            Kind::Drain,
            Kind::Health,
            Kind::Configure,
            Kind::Close,
            Kind::Credit,
        ];
        ALL.into_iter().find(|kind| *kind as u64 == number)
    }
}

/// What stands at the front of a buffer: a frame's kind, its payload's length, and the length of this header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The frame's kind as a number; it may be one we do not know.
    pub kind: u64,
    /// Bytes of payload.
    pub length: u64,
    /// Bytes of this header.
    pub size: usize,
}

/// Reads a frame's header from the front of `input`; `None` when more bytes are needed.
pub fn peek(input: &[u8]) -> Option<Header> {
    let (kind, first) = peek_varint(input)?;
    let (length, second) = peek_varint(&input[first..])?;
    Some(Header {
        kind,
        length,
        size: first + second,
    })
}

/// Takes one whole frame from the front of `input`; `Ok(None)` when more bytes are needed.
///
/// # Errors
/// A payload longer than `limit`, before any of it is waited for.
pub fn decode(input: &mut BytesMut, limit: u64) -> Result<Option<(u64, Bytes)>, Malformed> {
    let Some(header) = peek(input) else {
        return Ok(None);
    };
    if header.length > limit {
        return Err(Malformed::TooLong {
            what: "a frame",
            length: header.length,
            limit,
        });
    }
    let length = header.length as usize;
    if input.len() - header.size < length {
        return Ok(None);
    }
    input.advance(header.size);
    Ok(Some((header.kind, input.split_to(length).freeze())))
}

/// Appends a frame's header.
pub fn put_header(out: &mut BytesMut, kind: Kind, length: u64) {
    put_varint(out, kind as u64);
    put_varint(out, length);
}

/// Appends a frame whose payload `write` makes.
pub fn put(out: &mut BytesMut, kind: Kind, write: impl FnOnce(&mut BytesMut)) {
    let mut payload = BytesMut::with_capacity(1024);
    write(&mut payload);
    put_header(out, kind, payload.len() as u64);
    out.extend_from_slice(&payload);
}
