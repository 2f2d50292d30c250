//! What has arrived of a stream, and how it is brought together.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};

use super::{Inner, Receiver};
use crate::protocol::code::Code;
use crate::transport::stream::Error;

/// How many received packets are joined into one piece, at first and once a stream was seen to have more.
const JOIN_FEW: usize = 4;
const JOIN_MANY: usize = 32;

impl Receiver {
    /// Puts what has arrived behind the buffer; `false` at the end of the stream.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Error>> {
        if self.bulk {
            self.poll_join::<JOIN_MANY>(cx)
        } else {
            self.poll_join::<JOIN_FEW>(cx)
        }
    }

    fn poll_join<const LIMIT: usize>(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Error>> {
        let mut chunks = [const { Bytes::new() }; LIMIT];
        let read = match &mut self.inner {
            // The future holds no state between polls: a new one each time is what quinn itself does.
            Inner::Quic(stream) => pin!(stream.read_chunks(&mut chunks))
                .poll(cx)
                .map_err(read_error),
            // HTTP/2's frames are larger than packets, and one is enough.
            Inner::Http2(stream) => stream.poll_data(cx).map_ok(|data| {
                data.map(|data| {
                    chunks[0] = data;
                    1
                })
            }),
        };
        let Poll::Ready(read) = read else {
            self.waiting = true;
            if let Some(incoming) = &mut self.incoming {
                incoming.waits();
            }
            return Poll::Pending;
        };
        self.waiting = false;
        let count = match read {
            Ok(Some(count)) => count,
            Ok(None) => {
                self.ended = true;
                return Poll::Ready(Ok(false));
            }
            Err(error) => {
                self.ended = true;
                return Poll::Ready(Err(error));
            }
        };
        self.bulk |= count == LIMIT;
        let chunks = &mut chunks[..count];
        if let Some(incoming) = &mut self.incoming {
            incoming.took(chunks.iter().map(Bytes::len).sum());
        }
        if self.buffer.is_empty() && count == 1 {
            self.buffer = std::mem::take(&mut chunks[0]);
        } else {
            self.join(chunks);
        }
        Poll::Ready(Ok(true))
    }

    /// Brings together what has arrived of a body, for a reader that does not come: QUIC keeps it as slices of what was
    /// received with one system call, and a few bytes of this stream may hold the memory of a whole burst. Credit is for what
    /// the reader asks for, so nothing more comes because of this.
    pub fn compact(&mut self) {
        if self.waiting || self.ended {
            return;
        }
        let Inner::Quic(stream) = &mut self.inner else {
            return;
        };
        let mut arrived = Vec::new();
        let mut chunks = [const { Bytes::new() }; JOIN_MANY];
        while let Some(count) = at_once(stream, &mut chunks) {
            arrived.extend(chunks[..count].iter_mut().map(std::mem::take));
        }
        if arrived.is_empty() {
            return;
        }
        self.early += arrived.iter().map(Bytes::len).sum::<usize>();
        self.join(&arrived);
    }

    /// The reader comes after all.
    pub(super) fn ask_for_early(&mut self) {
        let early = std::mem::take(&mut self.early);
        if early > 0
            && let Some(incoming) = &mut self.incoming
        {
            incoming.took(early);
        }
    }

    /// Puts `chunks` behind the buffer, in memory that is theirs alone.
    fn join(&mut self, chunks: &[Bytes]) {
        let length = self.buffer.len() + chunks.iter().map(Bytes::len).sum::<usize>();
        let mut joined = BytesMut::with_capacity(length);
        joined.extend_from_slice(&self.buffer);
        for chunk in chunks {
            joined.extend_from_slice(chunk);
        }
        self.buffer = joined.freeze();
    }
}

/// What `stream` has now. Nobody is woken when there is more, and the end and errors stay there for its reader.
fn at_once(stream: &mut quinn::RecvStream, chunks: &mut [Bytes]) -> Option<usize> {
    let mut nobody = Context::from_waker(Waker::noop());
    match pin!(stream.read_chunks(chunks)).poll(&mut nobody) {
        Poll::Ready(Ok(count)) => count,
        Poll::Ready(Err(_)) | Poll::Pending => None,
    }
}

fn read_error(error: quinn::ReadError) -> Error {
    match error {
        quinn::ReadError::Reset(code) => Error::Reset(Code::from_number(code.into_inner())),
        quinn::ReadError::ConnectionLost(error) => Error::Lost(error.into()),
        quinn::ReadError::ClosedStream
        | quinn::ReadError::ZeroRttRejected
        | quinn::ReadError::IllegalOrderedRead => Error::Reset(Code::Internal),
    }
}
