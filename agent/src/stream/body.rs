//! The body of a request, from the tunnel's stream to the API server's connection, without a queue between.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use ci_tunnel::kube;
use ci_tunnel::protocol::code::Code;
use ci_tunnel::transport::stream::{Piece, Receiver};
use http_body_util::BodyExt;
use hyper::body::Frame;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::oneshot;

use crate::upstream::{Body, BodyError};

struct Streaming {
    receiver: Receiver,
    bytes: Counter,
    /// Dropped with the body, which the receiver of the other end takes for its end.
    _sent: oneshot::Sender<()>,
}

/// The body that `receiver` carries, and a signal for its end or abandonment.
pub(super) fn streaming(mut receiver: Receiver, bytes: Counter) -> (Body, oneshot::Receiver<()>) {
    // An API server may answer without reading on, which is no failure.
    receiver.abort_with(Code::Done);
    let (sent, ended) = oneshot::channel();
    (
        Streaming {
            receiver,
            bytes,
            _sent: sent,
        }
        .boxed_unsync(),
        ended,
    )
}

impl hyper::body::Body for Streaming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.receiver.poll_body(cx).map(|piece| match piece? {
            Ok(Piece::Data(data)) => {
                self.bytes.inc_by(data.len() as u64);
                Some(Ok(Frame::data(data)))
            }
            Ok(Piece::Trailers(mut trailers)) => {
                // As little as a head may they say who somebody is.
                kube::clean_request_headers(&mut trailers);
                Some(Ok(Frame::trailers(trailers)))
            }
            Err(error) => Some(Err(error.into())),
        })
    }
}
