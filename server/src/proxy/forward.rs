//! A permitted request over a stream: head out, body up while the response comes down.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ci_tunnel::protocol::MAX_HEAD_FRAME;
use ci_tunnel::protocol::code::Code;
use ci_tunnel::protocol::frame::Kind;
use ci_tunnel::protocol::head::{Failure, RequestHead, RequestKind, ResponseHead};
use ci_tunnel::transport::stream::{self, Receiver, Sender};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::limits::Pace;

/// Why there is no response head.
#[derive(Debug)]
pub enum Error {
    /// The agent said why.
    Failure(Failure),
    /// The stream or the connection broke.
    Lost(stream::Error),
    /// The agent sent something else than a response head.
    Protocol,
    /// The time is up.
    Timeout,
    /// Nobody took a byte of the request's body for too long.
    Stalled,
    /// The request's head does not fit a frame.
    TooLong,
}

/// The upload of a request's body, which ends when this is dropped.
#[derive(Debug)]
pub struct Upload {
    task: JoinHandle<()>,
}

/// A head that was sent: what is left to read, and what is left to send.
#[derive(Debug)]
pub struct Sent {
    pub receiver: Receiver,
    /// The body that goes up meanwhile, if there is one.
    pub upload: Option<Upload>,
    /// The sending half of an upgrade; others are finished or in the upload.
    pub sender: Option<Sender>,
    finished: Option<oneshot::Receiver<Uploaded>>,
}

/// How an upload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Uploaded {
    /// With its body, or with one of the two ends.
    Over,
    /// Nobody took a byte of it for too long.
    Stalled,
}

/// What an upload tells, what slows it, and what ends it.
#[derive(Debug)]
pub struct Uploading {
    /// Counts the body's bytes.
    pub sent: Arc<AtomicU64>,
    /// The permit is lost. A client that does not read its response would not be told of that by the response's body.
    pub cut: CancellationToken,
    /// Its limits of bytes a second, if it has any.
    pub pace: Option<Pace>,
    /// How long nobody may take a byte of it; zero: for ever.
    pub stalled: Duration,
}

/// Sends the head, within `deadline`, and begins to send the body.
///
/// # Errors
/// The head is too long for a frame, or the stream is gone or takes nothing.
pub async fn send(
    head: &RequestHead,
    body: Incoming,
    mut sender: Sender,
    receiver: Receiver,
    mut uploading: Uploading,
    deadline: Duration,
) -> Result<Sent, Error> {
    let mut out = BytesMut::with_capacity(2048);
    head.encode(&mut out).map_err(|_| Error::TooLong)?;
    let written = timeout(deadline, sender.write(out.freeze())).await;
    written.map_err(|_| Error::Timeout)?.map_err(Error::Lost)?;
    let mut sent = Sent {
        receiver,
        upload: None,
        sender: None,
        finished: None,
    };
    match head.kind {
        RequestKind::Empty => sender.finish(),
        RequestKind::Upgrade(_) => sent.sender = Some(sender),
        RequestKind::Body => {
            let (done, finished) = oneshot::channel();
            let task = tokio::spawn(async move {
                let cut = uploading.cut.clone();
                let uploaded = tokio::select! {
                    biased;
                    () = cut.cancelled() => {
                        sender.reset(Code::PermitLost);
                        Uploaded::Over
                    }
                    uploaded = upload(body, &mut sender, &mut uploading) => uploaded,
                };
                // Nobody waits any more when the response head came before the end of the body.
                let _ = done.send(uploaded);
            });
            sent.upload = Some(Upload { task });
            sent.finished = Some(finished);
        }
    }
    Ok(sent)
}

/// Sends the body piece by piece. A body that breaks off leaves the stream reset, never finished.
async fn upload(mut body: Incoming, sender: &mut Sender, to: &mut Uploading) -> Uploaded {
    let stopped = sender.stopped();
    let mut stopped = std::pin::pin!(stopped);
    loop {
        let frame = tokio::select! {
            biased;
            // The API server has answered without the rest of the body.
            _ = &mut stopped => return Uploaded::Over,
            frame = body.frame() => frame,
        };
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => return Uploaded::Over,
            None => break,
        };
        if let (Some(pace), Some(data)) = (&mut to.pace, frame.data_ref()) {
            tokio::select! {
                biased;
                _ = &mut stopped => return Uploaded::Over,
                () = pace.pay(data.len()) => {}
            }
        }
        let written = if to.stalled.is_zero() {
            Ok(write(frame, sender, &to.sent).await)
        } else {
            timeout(to.stalled, write(frame, sender, &to.sent)).await
        };
        match written {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Uploaded::Over,
            Err(_) => {
                sender.reset(Code::Stalled);
                return Uploaded::Stalled;
            }
        }
    }
    sender.finish();
    Uploaded::Over
}

async fn write(
    frame: http_body::Frame<Bytes>,
    sender: &mut Sender,
    sent: &AtomicU64,
) -> Result<(), stream::Error> {
    match frame.into_data() {
        Ok(data) => {
            sent.fetch_add(data.len() as u64, Ordering::Relaxed);
            sender.write_data(data).await
        }
        Err(frame) => match frame.into_trailers() {
            Ok(mut trailers) => {
                super::request::clean(&mut trailers);
                sender.write_trailers(&trailers).await
            }
            Err(_) => Ok(()),
        },
    }
}

impl Sent {
    /// Waits for the response head; the time runs from the end of the request's body.
    ///
    /// # Errors
    /// There is none, and why.
    pub async fn response(&mut self, deadline: Duration) -> Result<ResponseHead, Error> {
        let finished = self.finished.take();
        let late = async move {
            if let Some(finished) = finished
                && finished.await == Ok(Uploaded::Stalled)
            {
                return Error::Stalled;
            }
            tokio::time::sleep(deadline).await;
            Error::Timeout
        };
        let frame = tokio::select! {
            biased;
            frame = self.receiver.frame(MAX_HEAD_FRAME) => frame,
            error = late => return Err(error),
        };
        match frame {
            Ok(Some((kind, payload))) if kind == Kind::ResponseHead as u64 => {
                ResponseHead::decode(payload).map_err(|_| Error::Protocol)
            }
            Ok(Some((kind, payload))) if kind == Kind::Failure as u64 => {
                Err(Failure::decode(payload).map_or(Error::Protocol, Error::Failure))
            }
            Ok(_) => Err(Error::Protocol),
            Err(stream::Error::Malformed(_) | stream::Error::Truncated) => Err(Error::Protocol),
            // Over HTTP/2 the upload's own reset ends this half too.
            Err(stream::Error::Reset(Code::Stalled)) => Err(Error::Stalled),
            Err(error) => Err(Error::Lost(error)),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.task.abort();
    }
}
