//! The sending half of a stream: frames, the pieces of a body, raw bytes.

use std::future::Future;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::Error;
use crate::protocol::code::Code;
use crate::protocol::frame::{self, Kind};
use crate::protocol::head;
use crate::transport::credit::{Credit, Outgoing};
use crate::transport::http2;

/// The sending half.
#[derive(Debug)]
pub struct Sender {
    inner: Inner,
    /// Where the peer gives credit.
    outgoing: Option<Outgoing>,
    ended: bool,
    abort: Code,
}

#[derive(Debug)]
enum Inner {
    Quic(quinn::SendStream),
    Http2(http2::Sending),
}

/// What waits for the end of a stream, of either transport.
enum Stopped<Q, H> {
    Quic(Q),
    Http2(H),
}

/// Payloads up to this size are copied behind their frame's header: one buffer is cheaper than two.
const COPY_LIMIT: usize = 2 * 1024;

impl Sender {
    pub(in crate::transport) fn quic(stream: quinn::SendStream) -> Self {
        Self::new(Inner::Quic(stream))
    }

    pub(in crate::transport) fn http2(stream: http2::Sending) -> Self {
        Self::new(Inner::Http2(stream))
    }

    fn new(inner: Inner) -> Self {
        Self {
            inner,
            outgoing: None,
            ended: false,
            abort: Code::Cancelled,
        }
    }

    /// From now on, with `credit`: nothing has been sent yet.
    pub(in crate::transport) fn metered(mut self, credit: Option<&Arc<Credit>>) -> Self {
        self.outgoing = credit.map(|credit| Outgoing::new(Arc::clone(credit), self.id()));
        self
    }

    /// The stream's number, the same at both ends of the connection.
    pub fn id(&self) -> u64 {
        match &self.inner {
            Inner::Quic(stream) => quinn::VarInt::from(stream.id()).into_inner(),
            Inner::Http2(stream) => stream.id(),
        }
    }

    /// Queues `bytes` as they are; waits while the peer's flow control holds them back. Cancelling may leave a part
    /// sent.
    ///
    /// # Errors
    /// The peer stopped reading, or the connection is gone.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        if self.may_send(bytes.len()) {
            return self.put(bytes).await;
        }
        Box::pin(self.write_as_allowed(bytes)).await
    }

    /// Queues what the peer's credit allows, as it allows it.
    async fn write_as_allowed(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        while !bytes.is_empty() {
            let stopped = self.stopped();
            let some = match &mut self.outgoing {
                None => bytes.len(),
                Some(outgoing) => tokio::select! {
                    biased;
                    some = outgoing.some_of(bytes.len()) => some,
                    code = stopped => return Err(Error::Stopped(code.unwrap_or(Code::Cancelled))),
                },
            };
            self.put(bytes.split_to(some)).await?;
        }
        Ok(())
    }

    fn may_send(&mut self, bytes: usize) -> bool {
        self.outgoing
            .as_mut()
            .is_none_or(|outgoing| outgoing.may_send(bytes))
    }

    async fn put(&mut self, bytes: Bytes) -> Result<(), Error> {
        match &mut self.inner {
            Inner::Quic(stream) => stream.write_chunk(bytes).await.map_err(write_error),
            Inner::Http2(stream) => stream.write(bytes).await,
        }
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
        if !self.may_send(header.len() + data.len()) {
            self.write(header.freeze()).await?;
            return self.write(data).await;
        }
        match &mut self.inner {
            Inner::Quic(stream) => {
                let mut pieces = [header.freeze(), data];
                let written = stream.write_all_chunks(&mut pieces).await;
                written.map_err(write_error)
            }
            Inner::Http2(stream) => {
                stream.write(header.freeze()).await?;
                stream.write(data).await
            }
        }
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
        self.outgoing = None;
        // An error says that the peer has stopped or the connection is gone: there is nothing left to end.
        match &mut self.inner {
            Inner::Quic(stream) => drop(stream.finish()),
            Inner::Http2(stream) => stream.finish(),
        }
    }

    /// Ends the stream at once; the peer learns `code`.
    pub fn reset(&mut self, code: Code) {
        self.ended = true;
        self.outgoing = None;
        match &mut self.inner {
            Inner::Quic(stream) => drop(stream.reset(code.into())),
            Inner::Http2(stream) => stream.reset(code),
        }
    }

    /// The code to reset with when this half is dropped before its end; [`Code::Cancelled`] unless set.
    pub fn abort_with(&mut self, code: Code) {
        self.abort = code;
    }

    /// Waits until the peer has received everything (`None`; over HTTP/2: until everything is queued), stops reading, or
    /// is lost. To be awaited by the task that writes: over HTTP/2 a stream wakes one task.
    pub fn stopped(&self) -> impl Future<Output = Option<Code>> + Send + Sync + 'static + use<> {
        let stopped = match &self.inner {
            Inner::Quic(stream) => Stopped::Quic(stream.stopped()),
            Inner::Http2(stream) => Stopped::Http2(stream.stopped()),
        };
        async move {
            let stopped = match stopped {
                Stopped::Quic(stopped) => stopped.await,
                Stopped::Http2(stopped) => return stopped.await,
            };
            match stopped {
                Ok(None) => None,
                Ok(Some(code)) => Some(Code::from_number(code.into_inner())),
                Err(_) => Some(Code::Cancelled),
            }
        }
    }

    /// Streams of a higher priority go first; 0 unless set. Over HTTP/2 all take turns, frame by frame.
    pub fn set_priority(&self, priority: i32) {
        if let Inner::Quic(stream) = &self.inner {
            // An error says that the stream has ended.
            let _ = stream.set_priority(priority);
        }
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

fn write_error(error: quinn::WriteError) -> Error {
    match error {
        quinn::WriteError::Stopped(code) => Error::Stopped(Code::from_number(code.into_inner())),
        quinn::WriteError::ConnectionLost(error) => Error::Lost(error.into()),
        quinn::WriteError::ClosedStream | quinn::WriteError::ZeroRttRejected => {
            Error::Stopped(Code::Internal)
        }
    }
}
