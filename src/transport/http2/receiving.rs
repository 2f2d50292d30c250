//! The receiving half of an HTTP/2 stream.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use h2::client::ResponseFuture;
use http::StatusCode;
use tokio::runtime::Handle;

use super::stream::Stream;
use crate::protocol::code::Code;
use crate::transport::credit::Incoming;
use crate::transport::params::Side;
use crate::transport::stream::Error;

/// The receiving half.
#[derive(Debug)]
pub(in crate::transport) struct Receiving {
    stream: Arc<Stream>,
    body: In,
}

#[derive(Debug)]
pub(super) enum In {
    /// The server's, before the response's head.
    Head(ResponseFuture),
    Body(RecvStream),
    Ended,
}

impl Receiving {
    pub(super) fn new(stream: Arc<Stream>, body: In) -> Self {
        Self { stream, body }
    }

    /// The next bytes; `None` at the end of the stream.
    pub(in crate::transport) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Error>> {
        let state = &self.stream.state;
        loop {
            match &mut self.body {
                In::Head(response) => match ready!(Pin::new(response).poll(cx)) {
                    Ok(response) if response.status() == StatusCode::OK => {
                        self.body = In::Body(response.into_body());
                    }
                    Ok(_) => return Poll::Ready(Err(Error::Reset(Code::Protocol))),
                    Err(error) => {
                        return Poll::Ready(Err(state.stream_error(&error, Error::Reset)));
                    }
                },
                In::Body(body) => match ready!(body.poll_data(cx)) {
                    Some(Ok(data)) => {
                        // Not more than one frame lies outside of the library's own buffer. An error says that the
                        // stream is gone, and its credit with it.
                        let _ = body.flow_control().release_capacity(data.len());
                        if !data.is_empty() {
                            return Poll::Ready(Ok(Some(data)));
                        }
                    }
                    Some(Err(error)) => {
                        return Poll::Ready(Err(state.stream_error(&error, Error::Reset)));
                    }
                    None => return Poll::Ready(Ok(None)),
                },
                In::Ended => return Poll::Ready(Ok(None)),
            }
        }
    }

    /// The stream's number.
    pub(in crate::transport) fn id(&self) -> u64 {
        self.stream.id
    }

    /// Reads no further. Credit goes on to be given for what is thrown away.
    pub(in crate::transport) fn stop(&mut self, code: Code, incoming: Option<Incoming>) {
        let body = std::mem::replace(&mut self.body, In::Ended);
        if self.stream.side == Side::Server {
            return self.stream.reset(code);
        }
        let answers = self.stream.answers();
        // Outside of a runtime nothing runs that could still answer.
        if let (In::Body(body), true, Ok(runtime)) = (body, answers, Handle::try_current()) {
            runtime.spawn(throw_away(body, incoming, Arc::downgrade(&self.stream)));
        }
    }
}

/// Reads on for as long as somebody answers. A writer that was held back instead would be taken for one that found a stalled
/// reader. Dropped before the end of what comes, the stream is reset (NO_ERROR) behind the answer.
async fn throw_away(mut body: RecvStream, mut incoming: Option<Incoming>, answering: Weak<Stream>) {
    while let Some(Ok(data)) = body.data().await {
        if answering.strong_count() == 0 {
            return;
        }
        // An error says that the stream is gone.
        let _ = body.flow_control().release_capacity(data.len());
        if let Some(incoming) = &mut incoming {
            incoming.took(data.len());
        }
    }
}
