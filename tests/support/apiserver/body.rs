//! Bodies: what arrives is counted and hashed on its way, what leaves is watched to its end.

use std::io;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};

use super::recorder::{Answering, Entry, pairs};

/// The body of an answer.
pub(super) type Boxed = UnsyncBoxBody<Bytes, io::Error>;

pub(super) fn empty() -> Boxed {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn full(bytes: impl Into<Bytes>) -> Boxed {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// The body of a request; its record grows as it is read.
pub(super) struct Upload {
    incoming: Incoming,
    entry: Entry,
    len: u64,
    hash: Option<Sha256>,
}

impl Upload {
    pub(super) fn new(incoming: Incoming, entry: Entry) -> Self {
        let mut upload = Self {
            incoming,
            entry,
            len: 0,
            hash: Some(Sha256::new()),
        };
        if upload.incoming.is_end_stream() {
            upload.complete();
        }
        upload
    }

    /// Reads to the end; what cannot be read to the end counts as what was read of it.
    pub(super) async fn read(self) -> Bytes {
        self.collect()
            .await
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default()
    }

    fn complete(&mut self) {
        let Some(hash) = self.hash.take() else { return };
        let sha256 = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.entry
            .update(|request| request.body.sha256 = Some(sha256));
    }

    fn see(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.len += data.len() as u64;
            if let Some(hash) = &mut self.hash {
                hash.update(data);
            }
            let len = self.len;
            self.entry.update(|request| request.body.len = len);
        }
        if let Some(trailers) = frame.trailers_ref() {
            self.entry
                .update(|request| request.trailers = pairs(trailers));
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
            Some(Ok(frame)) => {
                self.see(&frame);
                if self.incoming.is_end_stream() {
                    self.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.entry
                    .update(|request| request.body.broke = Some(Instant::now()));
                Poll::Ready(Some(Err(io::Error::other(error))))
            }
            None => {
                self.complete();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// The body of an answer with the mark in it that says whether it was taken whole.
pub(super) struct Watched {
    inner: Boxed,
    answering: Answering,
}

impl Watched {
    pub(super) fn new(inner: Boxed, mut answering: Answering) -> Self {
        if inner.is_end_stream() {
            answering.answered();
        }
        Self { inner, answering }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if frame.is_none() || self.inner.is_end_stream() {
            self.answering.answered();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A piece of a [`Feed`], and whom to tell when the connection has taken it.
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    pub(super) taken: Option<oneshot::Sender<Instant>>,
}

/// A body that is fed by a task or by a test, with something that lives as long as the body does.
pub(super) struct Feed<G> {
    pieces: mpsc::Receiver<Piece>,
    _guard: G,
}

impl<G: Send + Unpin + 'static> Feed<G> {
    pub(super) fn boxed(pieces: mpsc::Receiver<Piece>, guard: G) -> Boxed {
        Self {
            pieces,
            _guard: guard,
        }
        .boxed_unsync()
    }
}

impl<G: Unpin> Body for Feed<G> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(piece) = ready!(self.pieces.poll_recv(cx)) else {
            return Poll::Ready(None);
        };
        if let Some(taken) = piece.taken {
            let _ = taken.send(Instant::now());
        }
        Poll::Ready(Some(Ok(Frame::data(piece.bytes))))
    }
}

/// `remaining` bytes of a fixed pattern, as fast as they are taken; then, if there is something to do, that, and no end.
pub(super) struct Pattern {
    remaining: u64,
    claimed: u64,
    /// Whether the head says how long the body is.
    announced: bool,
    then: Option<Box<dyn FnOnce() + Send>>,
}

impl Pattern {
    pub(super) fn whole(len: u64) -> Self {
        Self {
            remaining: len,
            claimed: len,
            announced: true,
            then: None,
        }
    }

    /// Claims more than it gives, and after `len` bytes calls `then` and stays silent.
    pub(super) fn broken(len: u64, then: impl FnOnce() + Send + 'static) -> Self {
        Self {
            remaining: len,
            claimed: len + 1024 * 1024,
            announced: true,
            then: Some(Box::new(then)),
        }
    }

    /// The same without a word in the head of how long it is: chunks, over HTTP/1.1.
    pub(super) fn unannounced(self) -> Self {
        Self {
            announced: false,
            ..self
        }
    }
}

impl Body for Pattern {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.remaining == 0 {
            if self.claimed == 0 {
                return Poll::Ready(None);
            }
            if let Some(then) = self.then.take() {
                then();
            }
            return Poll::Pending;
        }
        let len = self.remaining.min(PATTERN.len() as u64);
        self.remaining -= len;
        self.claimed -= len;
        let len = usize::try_from(len).expect("at most the pattern's length");
        Poll::Ready(Some(Ok(Frame::data(PATTERN.slice(..len)))))
    }

    fn is_end_stream(&self) -> bool {
        self.claimed == 0
    }

    fn size_hint(&self) -> SizeHint {
        if self.announced {
            SizeHint::with_exact(self.claimed)
        } else {
            SizeHint::default()
        }
    }
}

/// Bytes that repeat every 251, so that a piece lost or doubled shows.
pub(super) static PATTERN: LazyLock<Bytes> = LazyLock::new(|| {
    let pattern: Vec<u8> = (0..251_u8).cycle().take(251 * 1024).collect();
    pattern.into()
});
