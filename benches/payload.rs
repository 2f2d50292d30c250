//! A body of one repeated chunk: what clients upload and what the origin answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A body whose bytes cost nothing to make.
#[derive(Debug)]
pub struct Payload {
    chunk: Bytes,
    left: u64,
}

static CHUNK: [u8; 64 * 1024] = [b'x'; 64 * 1024];

impl Payload {
    pub const fn empty() -> Self {
        Self {
            chunk: Bytes::new(),
            left: 0,
        }
    }

    /// `length` bytes, in pieces of 64 KiB.
    pub const fn repeated(length: u64) -> Self {
        Self {
            chunk: Bytes::from_static(&CHUNK),
            left: length,
        }
    }

    pub const fn whole(chunk: Bytes) -> Self {
        let left = chunk.len() as u64;
        Self { chunk, left }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let length = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(self.chunk.len());
        self.left -= length as u64;
        Poll::Ready(Some(Ok(Frame::data(self.chunk.slice(..length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
