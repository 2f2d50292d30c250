//! A request to switch protocols: only a verified `101` makes the connection raw.

use bytes::BytesMut;
use ci_tunnel::kube;
use ci_tunnel::protocol::code::Code;
use ci_tunnel::protocol::head::ResponseHead;
use ci_tunnel::transport::splice::{self, splice};
use ci_tunnel::transport::stream::{Receiver, Sender};
use http::header::{HeaderValue, UPGRADE};
use http::{HeaderMap, StatusCode};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;

use super::{Context, Error, response};
use crate::metrics::{Metrics, Outcome};
use crate::upstream::{self, Answer};

/// Relays the answer to a request to switch to `protocol`. Anything but its `101` is an ordinary response, after which
/// the connection is closed: what the client may have sent in the meantime never reaches the API server.
pub(super) async fn relay(
    answer: Answer,
    protocol: &HeaderValue,
    sender: &mut Sender,
    mut receiver: Receiver,
    context: &Context,
) -> Result<Outcome, Error> {
    if answer.response.status() != StatusCode::SWITCHING_PROTOCOLS {
        receiver.stop(Code::Done);
        return response::relay_and_close(answer, sender, &context.metrics).await;
    }
    let bad = |reason: String| upstream::Error::BadUpgrade {
        endpoint: context.upstream.endpoint_text(),
        reason,
    };
    let Answer {
        mut response,
        lease,
    } = answer;
    verify(protocol, response.headers()).map_err(bad)?;
    let upgraded = hyper::upgrade::on(&mut response)
        .await
        .map_err(|error| bad(error.to_string()))?;
    sender
        .write(head(response.into_parts().0.headers, protocol)?.freeze())
        .await?;
    let outcome = run(upgraded, sender, &mut receiver, context).await;
    drop(lease);
    outcome
}

async fn run(
    upgraded: Upgraded,
    sender: &mut Sender,
    receiver: &mut Receiver,
    context: &Context,
) -> Result<Outcome, Error> {
    let _counted = context.metrics.upgraded();
    let mut moved = Moved {
        bytes: splice::Counters::default(),
        metrics: &context.metrics,
    };
    // hyper keeps what came right behind the 101 and gives it first.
    let io = TokioIo::new(upgraded);
    splice(io, sender, receiver, &mut moved.bytes, Code::UpstreamBroken).await?;
    Ok(Outcome::Done)
}

/// Counts what was moved however the splice ends; a client that leaves ends it by dropping it.
struct Moved<'a> {
    bytes: splice::Counters,
    metrics: &'a Metrics,
}

impl Drop for Moved<'_> {
    fn drop(&mut self) {
        self.metrics.raw_bytes(self.bytes.received, self.bytes.sent);
    }
}

fn verify(asked: &HeaderValue, headers: &HeaderMap) -> Result<(), String> {
    let mut answers = headers.get_all(UPGRADE).iter();
    match (answers.next(), answers.next()) {
        (Some(answer), None) if answer.as_bytes().eq_ignore_ascii_case(asked.as_bytes()) => Ok(()),
        (Some(answer), None) => Err(format!("asked for {asked:?}, it switches to {answer:?}")),
        (None, _) => Err("it does not say to which protocol it switches".to_owned()),
        (Some(_), Some(_)) => Err("it names several protocols".to_owned()),
    }
}

fn head(mut headers: HeaderMap, protocol: &HeaderValue) -> Result<BytesMut, Error> {
    kube::clean_response_headers(&mut headers);
    let head = ResponseHead {
        status: StatusCode::SWITCHING_PROTOCOLS,
        headers,
        upgrade: Some(protocol.clone()),
    };
    let mut out = BytesMut::new();
    head.encode(&mut out)?;
    Ok(out)
}
