//! The body of a response as it comes from the agent, with everything that lives as long as it: the audit record, the
//! place among the running requests, the upload.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use ci_tunnel::protocol::code::Code;
use ci_tunnel::transport::stream::{self, Piece, Receiver};
use http_body::{Frame, SizeHint};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::forward::Upload;
use super::{Slots, live};
use crate::agents::session::Running;
use crate::audit::{Ending, Record};

/// What the front sends to a client.
#[derive(Debug)]
pub enum Body {
    /// Our own words: a refusal or a small document.
    Whole {
        bytes: Option<Bytes>,
        _record: Option<Box<Record>>,
    },
    /// The API server's, as they come.
    Tunnel(Box<Tunnel>),
}

/// A response that is under way.
#[derive(Debug)]
pub struct Tunnel {
    pub(super) receiver: Receiver,
    pub(super) record: Record,
    pub(super) live: live::Guard,
    pub(super) upload: Option<Upload>,
    pub(super) _slots: Slots,
    pub(super) _running: Running,
    /// Bytes still to come, where the head said how many.
    pub(super) expected: Option<u64>,
    pub(super) cut: Pin<Box<WaitForCancellationFutureOwned>>,
    pub(super) state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Flowing,
    Ended,
}

/// Why a body ended before its end; the client sees a broken stream, never a word of ours inside the body.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the request was cut: {0}")]
    Cut(String),
    #[error(transparent)]
    Stream(#[from] stream::Error),
    #[error("the body is shorter than its Content-Length")]
    Short,
    #[error("the body is longer than its Content-Length")]
    Long,
}

impl Body {
    pub fn whole(bytes: Bytes, record: Option<Record>) -> Self {
        Self::Whole {
            bytes: (!bytes.is_empty()).then_some(bytes),
            _record: record.map(Box::new),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut *self {
            Self::Whole { bytes, .. } => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Tunnel(tunnel) => tunnel.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole { bytes, .. } => bytes.is_none(),
            Self::Tunnel(tunnel) => tunnel.state == State::Ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole { bytes, .. } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Tunnel(tunnel) => tunnel
                .expected
                .map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

impl Tunnel {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.state == State::Ended {
            return Poll::Ready(None);
        }
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(self.cut_off())));
        }
        match ready!(self.receiver.poll_body(cx)) {
            Some(Ok(Piece::Data(bytes))) => {
                let data = self.data(bytes);
                if self.state == State::Ended {
                    // The end of the stream is there most often already; taken now, the agent need not be told to stop.
                    let _ = self.receiver.poll_body(cx);
                }
                Poll::Ready(Some(data.map(Frame::data)))
            }
            Some(Ok(Piece::Trailers(mut trailers))) => {
                self.complete();
                ci_tunnel::kube::clean_response_headers(&mut trailers);
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            None if self.expected.is_some_and(|expected| expected > 0) => {
                Poll::Ready(Some(Err(self.broken(Error::Short))))
            }
            None => {
                self.complete();
                Poll::Ready(None)
            }
            Some(Err(error)) => Poll::Ready(Some(Err(self.broken(error.into())))),
        }
    }

    fn data(&mut self, bytes: Bytes) -> Result<Bytes, Error> {
        let length = bytes.len() as u64;
        self.record.received(length);
        if let Some(expected) = &mut self.expected {
            let Some(left) = expected.checked_sub(length) else {
                return Err(self.broken(Error::Long));
            };
            *expected = left;
            // HTTP/1.1 drops a body whose announced length it has sent, without asking for its end.
            if left == 0 {
                self.complete();
            }
        }
        Ok(bytes)
    }

    /// The whole response is delivered, or handed to the HTTP library at least.
    pub(super) fn complete(&mut self) {
        self.state = State::Ended;
        self.record.end(Ending::Complete, None);
    }

    fn broken(&mut self, error: Error) -> Error {
        self.state = State::Ended;
        self.record.end(Ending::Broken(error.to_string()), None);
        error
    }

    fn cut_off(&mut self) -> Error {
        self.state = State::Ended;
        let why = self.live.why();
        let message = why
            .as_ref()
            .map(|why| why.message.clone())
            .unwrap_or_default();
        self.record.end(
            Ending::Cut(why.map_or("cut", |why| why.label).to_owned()),
            Some(message.clone()),
        );
        self.receiver.stop(Code::PermitLost);
        if let Some(upload) = &self.upload {
            upload.abort();
        }
        Error::Cut(message)
    }
}
