//! HTTP/2 by hand: header blocks that no well-behaved client would send.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};

use super::raw::Raw;
use crate::deadline::within;

/// A raw HTTP/2 connection; its first request is stream 1, the next 3, and so on.
#[derive(Debug)]
pub struct RawH2 {
    raw: Raw,
    next_stream: u32,
}

/// How the server answered a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Status(u16),
    /// The stream was reset with this HTTP/2 error code.
    Reset(u32),
    /// The connection was closed, with this HTTP/2 error code if it said one.
    Closed(Option<u32>),
}

/// One part of a request.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    /// A header block: pairs in order, pseudo-headers among them, encoded as they stand.
    Headers(&'a [(&'a str, &'a str)]),
    Data(&'a [u8]),
}

impl RawH2 {
    pub async fn connect(addr: SocketAddr, ca_pem: &str) -> Result<Self> {
        let mut raw = Raw::connect(addr, ca_pem, "h2").await?;
        raw.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
        raw.write(frame(SETTINGS, 0, 0, &[])).await?;
        Ok(Self {
            raw,
            next_stream: 1,
        })
    }

    /// Sends these parts as one stream, the last of them ending it.
    pub async fn request(&mut self, parts: &[Part<'_>]) -> Result<u32> {
        let stream = self.next_stream;
        self.next_stream += 2;
        for (index, part) in parts.iter().enumerate() {
            let end = if index + 1 == parts.len() {
                END_STREAM
            } else {
                0
            };
            match part {
                Part::Headers(pairs) => self.headers(stream, end, pairs).await?,
                Part::Data(data) => self.raw.write(frame(DATA, end, stream, data)).await?,
            }
        }
        Ok(stream)
    }

    /// How the server answers this stream. To be asked of the first stream only: later header blocks may refer to earlier ones.
    pub async fn answer(&mut self, stream: u32) -> Result<Answer> {
        within("an answer over HTTP/2", self.read_answer(stream)).await?
    }

    /// Sends a header block in as many frames as it needs.
    async fn headers(&mut self, stream: u32, end: u8, pairs: &[(&str, &str)]) -> Result<()> {
        let block: Vec<u8> = pairs
            .iter()
            .flat_map(|(name, value)| literal(name, value))
            .collect();
        let mut chunks = block.chunks(16 * 1024).peekable();
        let mut kind = HEADERS;
        let mut flags = end;
        while let Some(chunk) = chunks.next() {
            let last = if chunks.peek().is_none() {
                END_HEADERS
            } else {
                0
            };
            self.raw
                .write(frame(kind, flags | last, stream, chunk))
                .await?;
            (kind, flags) = (CONTINUATION, 0);
        }
        Ok(())
    }

    async fn read_answer(&mut self, wanted: u32) -> Result<Answer> {
        let mut goaway = None;
        loop {
            let Ok(head) = self.raw.exactly(9).await else {
                return Ok(Answer::Closed(goaway));
            };
            let len = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
            let Ok(payload) = self.raw.exactly(len).await else {
                return Ok(Answer::Closed(goaway));
            };
            match head[3] {
                HEADERS if stream == wanted => return Ok(Answer::Status(status(&payload)?)),
                RST_STREAM if stream == wanted => return Ok(Answer::Reset(number(&payload, 0)?)),
                GOAWAY => goaway = Some(number(&payload, 4)?),
                SETTINGS if head[4] & ACK == 0 => {
                    // A server that has refused may be gone; what it said is still to be read.
                    let _ = self.raw.write(frame(SETTINGS, ACK, 0, &[])).await;
                }
                _ => {}
            }
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len())
        .expect("frames of tests are small")
        .to_be_bytes();
    let mut frame = vec![len[1], len[2], len[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// HPACK: literal, never indexed, not compressed (RFC 7541, 6.2.3).
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0x10];
    for text in [name, value] {
        length(text.len(), &mut out);
        out.extend_from_slice(text.as_bytes());
    }
    out
}

/// An HPACK integer with a prefix of 7 bits.
fn length(len: usize, out: &mut Vec<u8>) {
    let Some(mut rest) = len.checked_sub(127) else {
        out.push(u8::try_from(len).expect("below 127"));
        return;
    };
    out.push(127);
    while rest >= 128 {
        out.push(u8::try_from(rest % 128).expect("below 128") | 0x80);
        rest /= 128;
    }
    out.push(u8::try_from(rest).expect("below 128"));
}

/// The status, which is the first field of a block: indexed, or a literal with the static name.
fn status(block: &[u8]) -> Result<u16> {
    let mut block = block;
    // Updates of the table's size may come first.
    while let [0x20..=0x3f, rest @ ..] = block {
        block = rest;
    }
    match block {
        [indexed @ 0x88..=0x8e, ..] => {
            Ok([200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)])
        }
        [0x08 | 0x18 | 0x48, len, rest @ ..] => {
            let text = rest
                .get(..usize::from(len & 0x7f))
                .context("a status cut short")?;
            let digits = if len & 0x80 == 0 {
                text.to_vec()
            } else {
                huffman_digits(text)?
            };
            String::from_utf8(digits)?
                .parse()
                .context("a status that is no number")
        }
        other => bail!(
            "an answer whose status is encoded in a way this client does not know: {:02x?}",
            &other[..other.len().min(8)]
        ),
    }
}

/// Three digits in HPACK's Huffman code, which gives 0-2 five bits and 3-9 six.
fn huffman_digits(code: &[u8]) -> Result<Vec<u8>> {
    let bits: Vec<u8> = code
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    let value = |bits: &[u8]| bits.iter().fold(0_u8, |value, bit| value << 1 | bit);
    let mut digits = Vec::new();
    let mut rest = &bits[..];
    while digits.len() < 3 {
        let (digit, used) = match (rest.get(..5).map(value), rest.get(..6).map(value)) {
            (Some(digit @ 0..=2), _) => (digit, 5),
            (_, Some(code @ 0x19..=0x1f)) => (code - 0x19 + 3, 6),
            _ => bail!("not three digits: {code:02x?}"),
        };
        digits.push(b'0' + digit);
        rest = &rest[used..];
    }
    Ok(digits)
}

fn number(payload: &[u8], at: usize) -> Result<u32> {
    let bytes = payload.get(at..at + 4).context("a frame cut short")?;
    Ok(u32::from_be_bytes(bytes.try_into().expect("four bytes")))
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
