//! Bodies that a test sends: none, whole, or piece by piece.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use tokio::sync::mpsc;

use crate::deadline::within;

/// The body of a request.
pub type Boxed = UnsyncBoxBody<Bytes, io::Error>;

pub fn empty() -> Boxed {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub fn full(bytes: impl Into<Bytes>) -> Boxed {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body without a known length, and the hand that feeds it. It ends when the feeder is dropped.
pub fn fed() -> (Feeder, Boxed) {
    let (sender, receiver) = mpsc::channel(1);
    (Feeder { sender }, Fed { receiver }.boxed_unsync())
}

/// Feeds a body.
#[derive(Debug)]
pub struct Feeder {
    sender: mpsc::Sender<io::Result<Frame<Bytes>>>,
}

impl Feeder {
    pub async fn data(&self, bytes: impl Into<Bytes>) -> Result<()> {
        self.frame(Ok(Frame::data(bytes.into()))).await
    }

    /// Ends the body with these trailers.
    pub async fn trailers(self, trailers: HeaderMap) -> Result<()> {
        self.frame(Ok(Frame::trailers(trailers))).await
    }

    /// Breaks the body off: an HTTP/1.1 connection is closed, an HTTP/2 stream reset.
    pub async fn abort(self) -> Result<()> {
        self.frame(Err(io::Error::other("broken off by the test")))
            .await
    }

    async fn frame(&self, frame: io::Result<Frame<Bytes>>) -> Result<()> {
        within("the upload to make progress", self.sender.send(frame))
            .await?
            .ok()
            .context("the request is over")
    }
}

struct Fed {
    receiver: mpsc::Receiver<io::Result<Frame<Bytes>>>,
}

impl Body for Fed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.receiver.poll_recv(cx)
    }
}
