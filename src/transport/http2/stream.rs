//! The halves of one HTTP/2 stream.
//!
//! RST_STREAM ends both directions, so a half can not be given up alone. The ci-tunnel server gives up all of a stream
//! when it gives up reading: without the response there is no use in sending on. The agent that reads no further goes on
//! to answer: what still comes is thrown away until its answer is out.

use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Response, StatusCode};

use super::code;
use super::places::Place;
use super::receiving::{In, Receiving};
use super::state::State;
use crate::protocol::code::Code;
use crate::transport::params::Side;
use crate::transport::stream::{Error, Receiver, Sender};

/// What goes out ahead of flow control, before the stream's begin is on the wire: a request's head.
const AHEAD: usize = 16 * 1024;

/// What both halves of a stream share.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u64,
    pub(super) state: Arc<State>,
    out: Mutex<Out>,
    pub(super) side: Side,
    /// A request's, as opposed to the connection's own.
    counted: bool,
    /// The server's, of a request.
    _place: Option<Place>,
}

#[derive(Debug)]
enum Out {
    /// The agent's, before its first byte: the response's head goes with that.
    Answer(SendResponse<Bytes>),
    /// The server's, before its first byte.
    Fresh(SendStream<Bytes>),
    Open(SendStream<Bytes>),
    /// Ended; still able to reset what comes in.
    Ended(SendStream<Bytes>),
    Gone,
}

/// The sending half.
#[derive(Debug)]
pub(in crate::transport) struct Sending(Arc<Stream>);

/// The halves of a stream that the server opened, at the server.
pub(super) fn opened(
    state: &Arc<State>,
    out: SendStream<Bytes>,
    response: ResponseFuture,
    place: Option<Place>,
) -> (Sender, Receiver) {
    let stream = Stream {
        id: u32::from(out.stream_id()).into(),
        state: Arc::clone(state),
        out: Mutex::new(Out::Fresh(out)),
        side: Side::Server,
        counted: place.is_some(),
        _place: place,
    };
    halves(stream, In::Head(response))
}

/// The halves of a stream that the server opened, at the agent.
pub(super) fn accepted(
    state: &Arc<State>,
    answer: SendResponse<Bytes>,
    body: RecvStream,
    counted: bool,
) -> (Sender, Receiver) {
    let stream = Stream {
        id: u32::from(body.stream_id()).into(),
        state: Arc::clone(state),
        out: Mutex::new(Out::Answer(answer)),
        side: Side::Agent,
        counted,
        _place: None,
    };
    halves(stream, In::Body(body))
}

fn halves(stream: Stream, body: In) -> (Sender, Receiver) {
    if stream.counted {
        stream.state.stream_begins();
    }
    let stream = Arc::new(stream);
    let receiving = Receiving::new(Arc::clone(&stream), body);
    (Sender::http2(Sending(stream)), Receiver::http2(receiving))
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.counted {
            self.state.stream_ends();
        }
    }
}

impl Stream {
    /// Resets both directions, unless the stream is through.
    pub(super) fn reset(&self, code: Code) {
        self.out().reset(code::reason(code));
    }

    /// Whether something may still be sent.
    pub(super) fn answers(&self) -> bool {
        !matches!(&*self.out(), Out::Ended(_) | Out::Gone)
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_write(&self, bytes: &mut Bytes, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut out = self.out();
        out.answer().map_err(|error| self.write_error(&error))?;
        if let Out::Fresh(_) = &*out {
            let Out::Fresh(mut stream) = std::mem::replace(&mut *out, Out::Gone) else {
                return Poll::Ready(Err(Error::Stopped(Code::Internal)));
            };
            // A stream has no credit until its head is on the wire; waiting for that would make two packets of one.
            let first = bytes.split_to(bytes.len().min(AHEAD));
            let sent = stream.send_data(first, false);
            *out = Out::Open(stream);
            sent.map_err(|error| self.write_error(&error))?;
        }
        let Out::Open(stream) = &mut *out else {
            return Poll::Ready(Err(Error::Stopped(Code::Internal)));
        };
        while !bytes.is_empty() {
            stream.reserve_capacity(bytes.len());
            let credit = stream.capacity().min(bytes.len());
            if credit > 0 {
                let sent = stream.send_data(bytes.split_to(credit), false);
                sent.map_err(|error| self.write_error(&error))?;
                continue;
            }
            match ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(self.write_error(&error))),
                None => return Poll::Ready(Err(self.why_closed(stream, cx))),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Why a stream takes nothing more.
    fn why_closed(&self, stream: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Error {
        match stream.poll_reset(cx) {
            Poll::Ready(Ok(reason)) => Error::Stopped(code::code(reason)),
            Poll::Ready(Err(error)) => self.write_error(&error),
            Poll::Pending => Error::Stopped(Code::Internal),
        }
    }

    fn write_error(&self, error: &h2::Error) -> Error {
        if error.is_reset() || error.is_go_away() || error.is_io() {
            return self.state.stream_error(error, Error::Stopped);
        }
        // The library's own: the stream is no longer open.
        Error::Stopped(Code::Cancelled)
    }

    fn poll_stopped(&self, cx: &mut Context<'_>) -> Poll<Option<Code>> {
        let mut out = self.out();
        let reset = match &mut *out {
            Out::Answer(answer) => answer.poll_reset(cx),
            Out::Fresh(stream) | Out::Open(stream) => stream.poll_reset(cx),
            Out::Ended(_) | Out::Gone => return Poll::Ready(None),
        };
        reset.map(|reset| Some(reset.map_or(Code::Cancelled, code::code)))
    }
}

impl Out {
    /// Sends the response's head if it is due.
    fn answer(&mut self) -> Result<(), h2::Error> {
        if let Self::Answer(answer) = self {
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::OK;
            let stream = answer.send_response(response, false)?;
            *self = Self::Open(stream);
        }
        Ok(())
    }

    /// RST_STREAM, unless the stream is through.
    fn reset(&mut self, reason: Reason) {
        match std::mem::replace(self, Self::Gone) {
            Self::Answer(mut answer) => answer.send_reset(reason),
            Self::Fresh(mut stream) | Self::Open(mut stream) | Self::Ended(mut stream) => {
                stream.send_reset(reason);
            }
            Self::Gone => {}
        }
    }
}

impl Sending {
    /// The stream's number.
    pub(in crate::transport) fn id(&self) -> u64 {
        self.0.id
    }

    pub(in crate::transport) async fn write(&self, mut bytes: Bytes) -> Result<(), Error> {
        poll_fn(|cx| self.0.poll_write(&mut bytes, cx)).await
    }

    pub(in crate::transport) fn finish(&self) {
        let mut out = self.0.out();
        // Errors say that the stream or the connection is gone: there is nothing left to end.
        let _ = out.answer();
        *out = match std::mem::replace(&mut *out, Out::Gone) {
            Out::Fresh(mut stream) | Out::Open(mut stream) => {
                let _ = stream.send_data(Bytes::new(), true);
                Out::Ended(stream)
            }
            other => other,
        };
    }

    pub(in crate::transport) fn reset(&self, code: Code) {
        self.0.reset(code);
    }

    /// See [`Sender::stopped`].
    pub(in crate::transport) fn stopped(
        &self,
    ) -> impl Future<Output = Option<Code>> + Send + Sync + 'static + use<> {
        let stream = Arc::clone(&self.0);
        poll_fn(move |cx| stream.poll_stopped(cx))
    }
}
