//! An ordinary response, from the API server's connection to the tunnel's stream.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ci_tunnel::kube;
use ci_tunnel::protocol::frame::{self, Kind};
use ci_tunnel::protocol::head::ResponseHead;
use ci_tunnel::transport::stream::Sender;
use http::header::{CONTENT_LENGTH, HeaderMap};
use http::response::Parts;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, sleep_until};

use super::Error;
use crate::metrics::{Metrics, Outcome};
use crate::upstream::{self, Answer, Lease};

/// A body announced with up to this length travels with its head: one packet, one wake-up.
const GATHER_LIMIT: u64 = 32 * 1024;
/// How long such a body may take before its head goes ahead of it.
const GATHER_DEADLINE: Duration = Duration::from_millis(50);

/// Sends the whole response, then keeps the connection for the next request.
pub(super) async fn relay(
    answer: Answer,
    sender: &mut Sender,
    metrics: &Metrics,
) -> Result<Outcome, Error> {
    let Answer { response, lease } = answer;
    send(response, sender, metrics).await?;
    lease.release().await;
    Ok(Outcome::Done)
}

/// As [`relay`], but the connection, which was asked to switch protocols, carries nothing more.
pub(super) async fn relay_and_close(
    answer: Answer,
    sender: &mut Sender,
    metrics: &Metrics,
) -> Result<Outcome, Error> {
    let Answer { response, lease } = answer;
    send(response, sender, metrics).await?;
    drop::<Lease>(lease);
    Ok(Outcome::Done)
}

async fn send(
    response: http::Response<Incoming>,
    sender: &mut Sender,
    metrics: &Metrics,
) -> Result<(), Error> {
    let (parts, mut body) = response.into_parts();
    let small = announced(&parts).is_some_and(|length| length <= GATHER_LIMIT);
    let mut out = head(parts)?;
    let mut pieces = Gathered::default();
    if small && !body.is_end_stream() {
        // Nothing was sent yet, so this is still a failure that can be told.
        pieces = gather(&mut body)
            .await
            .map_err(|error| bad(format!("its connection broke in the body: {error}")))?;
    }
    if !pieces.data.is_empty() {
        metrics.bytes_down(pieces.data.len());
        frame::put_header(&mut out, Kind::Data, pieces.data.len() as u64);
        out.extend_from_slice(&pieces.data);
    }
    sender.write(out.freeze()).await?;
    pieces.ended |= body.is_end_stream() && pieces.trailers.is_none();
    if !pieces.ended {
        stream(&mut body, sender, metrics).await?;
    }
    if let Some(trailers) = pieces.trailers {
        send_trailers(trailers, sender).await?;
    }
    sender.finish();
    Ok(())
}

fn announced(parts: &Parts) -> Option<u64> {
    parts
        .headers
        .get(CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

fn head(parts: Parts) -> Result<BytesMut, Error> {
    let mut headers = parts.headers;
    kube::clean_response_headers(&mut headers);
    let mut out = BytesMut::with_capacity(1024);
    let head = ResponseHead {
        status: parts.status,
        headers,
        upgrade: None,
    };
    head.encode(&mut out)
        .map_err(|error| bad(error.to_string()))?;
    Ok(out)
}

fn bad(reason: String) -> upstream::Error {
    upstream::Error::BadResponse {
        endpoint: "the API server".to_owned(),
        reason,
    }
}

#[derive(Default)]
struct Gathered {
    data: BytesMut,
    trailers: Option<HeaderMap>,
    ended: bool,
}

/// Waits for a small body's end, but not for long: it may be announced and then come late.
async fn gather(body: &mut Incoming) -> Result<Gathered, hyper::Error> {
    let mut gathered = Gathered::default();
    let deadline = sleep_until(Instant::now() + GATHER_DEADLINE);
    tokio::pin!(deadline);
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = &mut deadline => return Ok(gathered),
        };
        match frame.transpose()?.map(hyper::body::Frame::into_data) {
            Some(Ok(data)) => gathered.data.extend_from_slice(&data),
            Some(Err(other)) => gathered.trailers = other.into_trailers().ok(),
            None => gathered.ended = true,
        }
        if gathered.ended || body.is_end_stream() {
            gathered.ended = true;
            return Ok(gathered);
        }
    }
}

/// Hands every piece on as it comes: a watch event must not wait for the next one.
async fn stream(body: &mut Incoming, sender: &mut Sender, metrics: &Metrics) -> Result<(), Error> {
    while let Some(frame) = body.frame().await {
        match frame.map_err(Error::Broken)?.into_data() {
            Ok(data) => send_data(data, sender, metrics).await?,
            Err(other) => {
                if let Ok(trailers) = other.into_trailers() {
                    send_trailers(trailers, sender).await?;
                }
            }
        }
    }
    Ok(())
}

async fn send_data(data: Bytes, sender: &mut Sender, metrics: &Metrics) -> Result<(), Error> {
    metrics.bytes_down(data.len());
    Ok(sender.write_data(data).await?)
}

async fn send_trailers(mut trailers: HeaderMap, sender: &mut Sender) -> Result<(), Error> {
    kube::clean_response_headers(&mut trailers);
    Ok(sender.write_trailers(&trailers).await?)
}
