//! The body of a response as it comes from the agent, with everything that lives as long as it: the audit record, the
//! place among the running requests, the upload.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use ci_tunnel::protocol::code::Code;
use ci_tunnel::transport::stream::{self, Piece, Receiver};
use http_body::{Frame, SizeHint};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::Slots;
use super::forward::Upload;
use super::limits::Pace;
use super::live::{self, Why};
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
    Tunnel(Tunnel),
}

/// A response that is under way, as its client's connection holds it.
#[derive(Debug)]
pub struct Tunnel {
    flow: Arc<Mutex<Flow>>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// A response that is under way. A client that does not read is not asked for more, so the connection alone would not
/// notice that its request was cut: whoever cuts it reaches it through [`live::Delivery`].
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) receiver: Receiver,
    /// Until it is cut.
    pub(super) kept: Option<Kept>,
    /// Bytes still to come, where the head said how many.
    pub(super) expected: Option<u64>,
    pub(super) pace: Option<Pace>,
    /// Received, and not yet paid for.
    pub(super) unpaid: Option<Bytes>,
    pub(super) state: State,
}

/// What lives as long as the response.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) record: Record,
    pub(super) live: live::Guard,
    pub(super) _upload: Option<Upload>,
    pub(super) _slots: Slots,
    pub(super) _running: Running,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Flowing,
    /// And the client's connection is not told yet.
    Cut(String),
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
            Self::Tunnel(tunnel) => tunnel.flow().state == State::Ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole { bytes, .. } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Tunnel(tunnel) => tunnel.flow().size_hint(),
        }
    }
}

impl Tunnel {
    pub(super) fn new(flow: Flow, request: &live::Request) -> Self {
        let cut = Box::pin(request.cut().cancelled_owned());
        let flow = Arc::new(Mutex::new(flow));
        let weak = Arc::downgrade(&flow);
        request.delivered_by(weak);
        Self { flow, cut }
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let cut = self.cut.as_mut().poll(cx).is_ready();
        let mut flow = self.flow();
        if cut {
            flow.cut_for_the_guards_reason();
        }
        flow.poll_frame(cx)
    }
}

impl live::Delivery for Mutex<Flow> {
    fn cut(&self, why: &Why) {
        self.lock().unwrap_or_else(PoisonError::into_inner).cut(why);
    }

    fn compact(&self) {
        let mut flow = self.lock().unwrap_or_else(PoisonError::into_inner);
        flow.receiver.compact();
    }
}

impl Flow {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.state {
            State::Flowing => {}
            State::Ended => return Poll::Ready(None),
            State::Cut(why) => {
                let error = Error::Cut(std::mem::take(why));
                self.state = State::Ended;
                return Poll::Ready(Some(Err(error)));
            }
        }
        if self.unpaid.is_some() {
            return self.poll_pay(cx);
        }
        match ready!(self.receiver.poll_body(cx)) {
            Some(Ok(Piece::Data(bytes))) => match &mut self.pace {
                None => Poll::Ready(Some(self.data(bytes, cx).map(Frame::data))),
                Some(pace) => {
                    pace.owe(bytes.len());
                    self.unpaid = Some(bytes);
                    self.poll_pay(cx)
                }
            },
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

    fn poll_pay(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(pace) = &mut self.pace
            && pace.poll_paid(cx).is_pending()
        {
            self.receiver.excuse();
            return Poll::Pending;
        }
        let bytes = self.unpaid.take().unwrap_or_default();
        Poll::Ready(Some(self.data(bytes, cx).map(Frame::data)))
    }

    fn data(&mut self, bytes: Bytes, cx: &mut Context<'_>) -> Result<Bytes, Error> {
        let length = bytes.len() as u64;
        if let Some(kept) = &mut self.kept {
            kept.record.received(length);
        }
        if let Some(expected) = &mut self.expected {
            let Some(left) = expected.checked_sub(length) else {
                return Err(self.broken(Error::Long));
            };
            *expected = left;
            // HTTP/1.1 drops a body whose announced length it has sent, without asking for its end.
            if left == 0 {
                self.complete();
                // The end of the stream is there most often already; taken now, the agent need not be told to stop.
                let _ = self.receiver.poll_body(cx);
            }
        }
        Ok(bytes)
    }

    fn size_hint(&self) -> SizeHint {
        self.expected
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// The whole response is delivered, or handed to the HTTP library at least.
    pub(super) fn complete(&mut self) {
        self.end(Ending::Complete, None);
    }

    fn broken(&mut self, error: Error) -> Error {
        let code = match &error {
            Error::Stream(error) => code_of(error),
            _ => Code::Protocol.name(),
        };
        if let Some(kept) = &mut self.kept {
            kept.record.code(code);
        }
        self.end(Ending::Broken(error.to_string()), None);
        error
    }

    fn end(&mut self, ending: Ending, message: Option<String>) {
        self.state = State::Ended;
        if let Some(kept) = &mut self.kept {
            kept.record.end(ending, message);
        }
    }

    fn cut_for_the_guards_reason(&mut self) {
        if let Some(why) = self
            .kept
            .as_ref()
            .and_then(|kept| kept.live.request().why())
        {
            self.cut(&why);
        }
    }

    /// Ends all but the client's connection, which learns of it when it asks for more.
    fn cut(&mut self, why: &Why) {
        if self.state != State::Flowing {
            return;
        }
        if let Some(kept) = &mut self.kept {
            let message = Some(why.message.clone());
            kept.record.cut(why.label, why.code(), message);
        }
        self.state = State::Cut(why.message.clone());
        self.receiver.stop(why.code());
        self.unpaid = None;
        // The audit's line is written, the upload ends, places are free.
        self.kept = None;
    }
}

/// A stream's failure as one word for machines.
pub(super) fn code_of(error: &stream::Error) -> &'static str {
    match error {
        stream::Error::Reset(code) | stream::Error::Stopped(code) => code.name(),
        stream::Error::Lost(closed) if closed.said => closed.code.name(),
        stream::Error::Lost(_) => "lost",
        stream::Error::Malformed(_) | stream::Error::Truncated => Code::Protocol.name(),
    }
}
