//! One bidirectional stream as two halves: frames out, frames in, raw bytes after an upgrade.
//!
//! A half that is dropped before its end is reset (or stopped) with a code, so that a task which ends early can not
//! make a cut body look whole.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use crate::protocol::code::Code;
use crate::protocol::codec::Malformed;
use crate::protocol::frame::{self, Kind};
use crate::protocol::{MAX_DATA_FRAME, MAX_HEAD_FRAME, head};

/// Why a stream gave or took no more bytes.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The peer reset the stream.
    #[error("the peer reset the stream: {0}")]
    Reset(Code),
    /// The peer reads no further.
    #[error("the peer stopped reading: {0}")]
    Stopped(Code),
    /// The connection is gone.
    #[error("the connection is gone: {0}")]
    Lost(#[from] quinn::ConnectionError),
    /// The peer sent bytes that the protocol does not allow.
    #[error("the peer broke the protocol: {0}")]
    Malformed(#[from] Malformed),
    /// The stream ended in the middle of a frame.
    #[error("the stream ended in the middle of a frame")]
    Truncated,
}

/// The sending half.
#[derive(Debug)]
pub struct Sender {
    inner: quinn::SendStream,
    ended: bool,
    abort: Code,
}

/// The receiving half.
#[derive(Debug)]
pub struct Receiver {
    inner: quinn::RecvStream,
    /// Received and not yet handed on.
    buffer: Bytes,
    /// Payload of the current DATA frame that is still to come.
    remaining: u64,
    /// Whether much has come at once: most streams carry one packet or two each way, and room for more costs them time.
    bulk: bool,
    ended: bool,
    abort: Code,
}

/// A piece of a body.
#[derive(Debug)]
pub enum Piece {
    /// The next bytes.
    Data(Bytes),
    /// The trailers, after the last bytes.
    Trailers(HeaderMap),
}

/// Payloads up to this size are copied behind their frame's header: one buffer is cheaper than two.
const COPY_LIMIT: usize = 2 * 1024;

/// How many received packets are joined into one piece, at first and once a stream was seen to have more.
const JOIN_FEW: usize = 4;
const JOIN_MANY: usize = 32;

impl Sender {
    pub(super) fn new(inner: quinn::SendStream) -> Self {
        Self {
            inner,
            ended: false,
            abort: Code::Cancelled,
        }
    }

    /// Queues `bytes` as they are; waits while the peer's flow control holds them back. Cancelling may leave a part
    /// sent.
    ///
    /// # Errors
    /// The peer stopped reading, or the connection is gone.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.inner.write_chunk(bytes).await.map_err(write_error)
    }

    /// Queues `data` as DATA frames. Empty data is no frame.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn write_data(&mut self, data: Bytes) -> Result<(), Error> {
        if data.is_empty() {
            return Ok(());
        }
        let mut header = BytesMut::with_capacity(
            12 + if data.len() <= COPY_LIMIT {
                data.len()
            } else {
                0
            },
        );
        frame::put_header(&mut header, Kind::Data, data.len() as u64);
        if data.len() <= COPY_LIMIT {
            header.extend_from_slice(&data);
            return self.write(header.freeze()).await;
        }
        self.inner
            .write_all_chunks(&mut [header.freeze(), data])
            .await
            .map_err(write_error)
    }

    /// Queues `trailers`.
    ///
    /// # Errors
    /// As [`Self::write`]; the trailers are too many or too long.
    pub async fn write_trailers(&mut self, trailers: &HeaderMap) -> Result<(), Error> {
        let mut out = BytesMut::new();
        head::encode_trailers(trailers, &mut out)?;
        self.write(out.freeze()).await
    }

    /// Ends the stream: what is queued is still sent.
    pub fn finish(&mut self) {
        self.ended = true;
        // An error says that the peer has stopped or the connection is gone: there is nothing left to end.
        let _ = self.inner.finish();
    }

    /// Ends the stream at once; the peer learns `code`.
    pub fn reset(&mut self, code: Code) {
        self.ended = true;
        let _ = self.inner.reset(code.into());
    }

    /// The code to reset with when this half is dropped before its end; [`Code::Cancelled`] unless set.
    pub fn abort_with(&mut self, code: Code) {
        self.abort = code;
    }

    /// Waits until the peer has received everything (`None`), stops reading, or is lost.
    pub fn stopped(&self) -> impl Future<Output = Option<Code>> + Send + Sync + 'static + use<> {
        let stopped = self.inner.stopped();
        async move {
            match stopped.await {
                Ok(None) => None,
                Ok(Some(code)) => Some(Code::from_number(code.into_inner())),
                Err(_) => Some(Code::Cancelled),
            }
        }
    }

    /// Streams of a higher priority go first; 0 unless set.
    pub fn set_priority(&self, priority: i32) {
        let _ = self.inner.set_priority(priority);
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // quinn finishes a dropped stream, which would make a cut body look whole.
        if !self.ended {
            self.reset(self.abort);
        }
    }
}

impl Receiver {
    pub(super) fn new(inner: quinn::RecvStream) -> Self {
        Self {
            inner,
            buffer: Bytes::new(),
            remaining: 0,
            bulk: false,
            ended: false,
            abort: Code::Cancelled,
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
        if self.buffer.is_empty() && !self.fill().await? {
            return Ok(None);
        }
        Ok(Some(std::mem::take(&mut self.buffer)))
    }

    async fn fill(&mut self) -> Result<bool, Error> {
        std::future::poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Puts what has arrived behind the buffer; `false` at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Error>> {
        if self.bulk {
            self.poll_join::<JOIN_MANY>(cx)
        } else {
            self.poll_join::<JOIN_FEW>(cx)
        }
    }

    fn poll_join<const LIMIT: usize>(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Error>> {
        let mut chunks = [const { Bytes::new() }; LIMIT];
        // The future holds no state between polls: a new one each time is what quinn itself does.
        let count = match ready!(pin!(self.inner.read_chunks(&mut chunks)).poll(cx)) {
            Ok(Some(count)) => count,
            Ok(None) => {
                self.ended = true;
                return Poll::Ready(Ok(false));
            }
            Err(error) => {
                self.ended = true;
                return Poll::Ready(Err(read_error(error)));
            }
        };
        self.bulk |= count == LIMIT;
        let chunks = &mut chunks[..count];
        if self.buffer.is_empty() && count == 1 {
            self.buffer = std::mem::take(&mut chunks[0]);
            return Poll::Ready(Ok(true));
        }
        let length = self.buffer.len() + chunks.iter().map(Bytes::len).sum::<usize>();
        let mut joined = BytesMut::with_capacity(length);
        joined.extend_from_slice(&self.buffer);
        for chunk in chunks {
            joined.extend_from_slice(chunk);
        }
        self.buffer = joined.freeze();
        Poll::Ready(Ok(true))
    }

    /// Reads no further; the peer learns `code`.
    pub fn stop(&mut self, code: Code) {
        self.ended = true;
        let _ = self.inner.stop(code.into());
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

fn write_error(error: quinn::WriteError) -> Error {
    match error {
        quinn::WriteError::Stopped(code) => Error::Stopped(Code::from_number(code.into_inner())),
        quinn::WriteError::ConnectionLost(error) => Error::Lost(error),
        quinn::WriteError::ClosedStream | quinn::WriteError::ZeroRttRejected => {
            Error::Stopped(Code::Internal)
        }
    }
}

fn read_error(error: quinn::ReadError) -> Error {
    match error {
        quinn::ReadError::Reset(code) => Error::Reset(Code::from_number(code.into_inner())),
        quinn::ReadError::ConnectionLost(error) => Error::Lost(error),
        quinn::ReadError::ClosedStream
        | quinn::ReadError::ZeroRttRejected
        | quinn::ReadError::IllegalOrderedRead => Error::Reset(Code::Internal),
    }
}
