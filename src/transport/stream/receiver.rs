//! The receiving half of a stream: frames, the pieces of a body, raw bytes.

mod arrived;

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;

use super::{Error, Piece};
use crate::protocol::code::Code;
use crate::protocol::codec::Malformed;
use crate::protocol::frame::{self, Kind};
use crate::protocol::{MAX_DATA_FRAME, MAX_HEAD_FRAME, head};
use crate::transport::credit::{Credit, Incoming};
use crate::transport::http2;

/// The receiving half.
#[derive(Debug)]
pub struct Receiver {
    inner: Inner,
    /// Where the peer asks for credit.
    incoming: Option<Incoming>,
    /// Received and not yet handed on.
    buffer: Bytes,
    /// Payload of the current DATA frame that is still to come.
    remaining: u64,
    /// Whether much has come at once: most streams carry one packet or two each way, and room for more costs them time.
    bulk: bool,
    /// Whether the reader found nothing, and is woken when there is something.
    waiting: bool,
    /// Bytes of the buffer that the reader has not asked for yet, which the peer gets no credit for.
    early: usize,
    ended: bool,
    abort: Code,
}

#[derive(Debug)]
enum Inner {
    Quic(quinn::RecvStream),
    Http2(http2::Receiving),
}

impl Receiver {
    pub(in crate::transport) fn quic(stream: quinn::RecvStream) -> Self {
        Self::new(Inner::Quic(stream))
    }

    pub(in crate::transport) fn http2(stream: http2::Receiving) -> Self {
        Self::new(Inner::Http2(stream))
    }

    fn new(inner: Inner) -> Self {
        Self {
            inner,
            incoming: None,
            buffer: Bytes::new(),
            remaining: 0,
            bulk: false,
            waiting: false,
            early: 0,
            ended: false,
            abort: Code::Cancelled,
        }
    }

    /// From now on, with `credit`: nothing has been received yet.
    pub(in crate::transport) fn metered(mut self, credit: Option<&Arc<Credit>>) -> Self {
        self.incoming = credit.map(|credit| Incoming::new(Arc::clone(credit), self.id()));
        self
    }

    fn id(&self) -> u64 {
        match &self.inner {
            Inner::Quic(stream) => quinn::VarInt::from(stream.id()).into_inner(),
            Inner::Http2(stream) => stream.id(),
        }
    }

    /// The next whole frame; `None` at the end of the stream. Not to be called inside a body.
    ///
    /// # Errors
    /// The payload is longer than `limit`, the stream ended inside a frame, was reset, or the connection is gone.
    pub async fn frame(&mut self, limit: u64) -> Result<Option<(u64, Bytes)>, Error> {
        loop {
            if let Some(header) = frame::peek(&self.buffer) {
                if header.length > limit {
                    return Err(Malformed::TooLong {
                        what: "a frame",
                        length: header.length,
                        limit,
                    }
                    .into());
                }
                let whole = header.size + header.length as usize;
                if self.buffer.len() >= whole {
                    let mut frame = self.buffer.split_to(whole);
                    frame.advance(header.size);
                    return Ok(Some((header.kind, frame)));
                }
            }
            if !self.fill().await? {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(Error::Truncated)
                };
            }
        }
    }

    /// The next piece of a body; `None` at its end.
    ///
    /// # Errors
    /// The body was cut: see [`Error`].
    pub async fn body(&mut self) -> Result<Option<Piece>, Error> {
        std::future::poll_fn(|cx| self.poll_body(cx))
            .await
            .transpose()
    }

    /// As [`Self::body`], for `http_body::Body`.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Error>>> {
        self.ask_for_early();
        loop {
            if self.remaining > 0 && !self.buffer.is_empty() {
                let length = usize::try_from(self.remaining)
                    .unwrap_or(usize::MAX)
                    .min(self.buffer.len());
                self.remaining -= length as u64;
                return Poll::Ready(Some(Ok(Piece::Data(self.buffer.split_to(length)))));
            }
            match self.next_frame() {
                Ok(None) => {}
                Ok(Some(trailers)) => return Poll::Ready(Some(Ok(Piece::Trailers(trailers)))),
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
            if self.remaining > 0 && !self.buffer.is_empty() {
                continue;
            }
            match ready!(self.poll_fill(cx)) {
                Ok(true) => {}
                Ok(false) if self.remaining == 0 && self.buffer.is_empty() => {
                    return Poll::Ready(None);
                }
                Ok(false) => return Poll::Ready(Some(Err(Error::Truncated))),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// Reads frame headers of a body until payload of a DATA frame is due, a whole trailers frame is there (returned),
    /// or more bytes are needed.
    fn next_frame(&mut self) -> Result<Option<HeaderMap>, Malformed> {
        while self.remaining == 0 {
            let Some(header) = frame::peek(&self.buffer) else {
                break;
            };
            match Kind::from_number(header.kind) {
                Some(Kind::Data) if header.length <= MAX_DATA_FRAME => {
                    self.buffer.advance(header.size);
                    self.remaining = header.length;
                }
                Some(Kind::Trailers) if header.length <= MAX_HEAD_FRAME => {
                    let whole = header.size + header.length as usize;
                    if self.buffer.len() < whole {
                        break;
                    }
                    let mut payload = self.buffer.split_to(whole);
                    payload.advance(header.size);
                    return head::decode_trailers(payload).map(Some);
                }
                _ => return Err(Malformed::UnexpectedFrame(header.kind)),
            }
        }
        Ok(None)
    }

    /// The next raw bytes, after an upgrade; `None` at the end of the stream.
    ///
    /// # Errors
    /// The stream was reset, or the connection is gone.
    pub async fn raw(&mut self) -> Result<Option<Bytes>, Error> {
        self.ask_for_early();
        if self.buffer.is_empty() && !self.fill().await? {
            return Ok(None);
        }
        Ok(Some(std::mem::take(&mut self.buffer)))
    }

    async fn fill(&mut self) -> Result<bool, Error> {
        std::future::poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Who reads here is kept from it by a limit of ours: that it leaves bytes lying until it reads again does not count as
    /// stalling.
    pub fn excuse(&self) {
        if let Some(incoming) = &self.incoming {
            incoming.excuse();
        }
    }

    /// Reads no further; the peer learns `code`.
    pub fn stop(&mut self, code: Code) {
        self.ended = true;
        self.buffer = Bytes::new();
        let incoming = self.incoming.take();
        match &mut self.inner {
            // An error says that there is nothing left to stop.
            Inner::Quic(stream) => drop(stream.stop(code.into())),
            Inner::Http2(stream) => stream.stop(code, incoming),
        }
    }

    /// The code to stop with when this half is dropped before its end; [`Code::Cancelled`] unless set.
    pub fn abort_with(&mut self, code: Code) {
        self.abort = code;
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if !self.ended {
            self.stop(self.abort);
        }
    }
}
