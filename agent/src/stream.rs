//! One request: its head from the server, the API server's answer back, and every way this can end early.

mod body;
mod response;
mod upgrade;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use ci_tunnel::protocol::MAX_HEAD_FRAME;
use ci_tunnel::protocol::code::Code;
use ci_tunnel::protocol::codec::Malformed;
use ci_tunnel::protocol::frame::Kind;
use ci_tunnel::protocol::head::{Cause, Failure, RequestHead, RequestKind};
use ci_tunnel::runtime::drain::Notice;
use ci_tunnel::transport::splice;
use ci_tunnel::transport::stream::{self, Receiver, Sender};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{Instrument, debug, debug_span, warn};

use crate::identity;
use crate::metrics::{Metrics, Outcome};
use crate::upstream::{self, Answer, Outgoing, Upstream};

/// From a stream's begin to its whole request head.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// How long a draining agent waits until the server has all of a response.
const ACKNOWLEDGE_DEADLINE: Duration = Duration::from_secs(5);

/// What every request of one session has in common.
#[derive(Debug)]
pub struct Context {
    /// The id that the server gave this agent; requests for another are refused.
    pub agent: u64,
    /// The identities of its requests.
    pub recent: identity::Recent,
    pub upstream: Arc<Upstream>,
    pub metrics: Arc<Metrics>,
    /// From the end of the request's body to the response head.
    pub response_deadline: Duration,
    /// Once the agent is about to end, a response waits until the server has all of it.
    pub draining: Notice,
}

/// Why a request ended other than by its response's end.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// Nothing was sent to the server yet: it learns why there is no response.
    #[error(transparent)]
    Upstream(#[from] upstream::Error),
    #[error("the agent will not carry this request: {0}")]
    Refused(#[from] identity::Refusal),
    #[error("the server: {0}")]
    Peer(#[from] stream::Error),
    #[error("the server broke the protocol: {0}")]
    Protocol(#[from] Malformed),
    #[error("the server sent no whole request head in time")]
    Late,
    /// The response has begun: all that is left is to cut it.
    #[error("the API server's connection broke: {0}")]
    Broken(#[source] hyper::Error),
    #[error("upgraded connection: {0}")]
    Splice(#[from] splice::Error),
}

/// Carries the request that `receiver` begins with. Ends within a moment of the server's giving up on it.
pub async fn serve(mut sender: Sender, mut receiver: Receiver, context: Arc<Context>) {
    let running = context.metrics.request_begins();
    let Ok(head) = timeout(HEAD_DEADLINE, read_head(&mut receiver, &context.recent))
        .await
        .unwrap_or(Err(Error::Late))
    else {
        // Whoever sends no head can not be told anything either.
        sender.reset(Code::Protocol);
        receiver.stop(Code::Protocol);
        return running.ends(Outcome::Protocol);
    };
    let span = debug_span!("request", id = %head.request_id, method = %head.method);
    let id = head.request_id.clone();
    async {
        let gone = sender.stopped();
        let exchange = exchange(head, &mut sender, receiver, &context);
        let result = tokio::select! {
            // Dropping the exchange closes its connection to the API server.
            biased;
            Some(code) = gone => Err(Error::Peer(stream::Error::Stopped(code))),
            result = exchange => result,
        };
        let outcome = conclude(&id, result, &mut sender).await;
        if context.draining.is_draining() {
            let _ = timeout(ACKNOWLEDGE_DEADLINE, sender.stopped()).await;
        }
        debug!(outcome = outcome.name(), "request ended");
        running.ends(outcome);
    }
    .instrument(span)
    .await;
}

/// Refuses a request that is one too many, without looking at it.
pub async fn refuse_busy(mut sender: Sender, mut receiver: Receiver) {
    receiver.stop(Code::RequestRefused);
    fail(
        &mut sender,
        Cause::Busy,
        "the agent carries as many requests as it may (max_streams)",
    )
    .await;
}

async fn read_head(
    receiver: &mut Receiver,
    recent: &identity::Recent,
) -> Result<RequestHead, Error> {
    let (kind, payload) = receiver
        .frame(MAX_HEAD_FRAME)
        .await?
        .ok_or(Malformed::Truncated)?;
    if kind != Kind::RequestHead as u64 {
        return Err(Malformed::UnexpectedFrame(kind).into());
    }
    let head = RequestHead::decode_by(payload, |identity| recent.decode(identity))?;
    if head.kind == RequestKind::Empty && receiver.frame(0).await?.is_some() {
        return Err(Malformed::Invalid("kind").into());
    }
    Ok(head)
}

async fn exchange(
    head: RequestHead,
    sender: &mut Sender,
    receiver: Receiver,
    context: &Arc<Context>,
) -> Result<Outcome, Error> {
    let (method, target, kind) = (head.method.clone(), head.target.clone(), head.kind.clone());
    let headers = identity::headers(head, context.agent, &context.recent)?;
    let upgrade = if let RequestKind::Upgrade(protocol) = &kind {
        Some(protocol.clone())
    } else {
        None
    };
    let outgoing = Outgoing {
        method,
        target,
        headers,
        upgrade,
    };
    match kind {
        RequestKind::Empty => {
            let answer = answer(&outgoing, None, None, context).await?;
            response::relay(answer, sender, &context.metrics).await
        }
        RequestKind::Body => {
            let (body, sent) = body::streaming(receiver, context.metrics.bytes_up());
            let answer = answer(&outgoing, Some(body), Some(sent), context).await?;
            response::relay(answer, sender, &context.metrics).await
        }
        RequestKind::Upgrade(protocol) => {
            let answer = answer(&outgoing, None, None, context).await?;
            // Rare, and large: in a box it does not make every request's task larger.
            Box::pin(upgrade::relay(answer, &protocol, sender, receiver, context)).await
        }
    }
}

/// Waits for the response head; the deadline counts from the moment at which `sent` says that the body is sent.
async fn answer(
    outgoing: &Outgoing,
    body: Option<upstream::Body>,
    sent: Option<oneshot::Receiver<()>>,
    context: &Context,
) -> Result<Answer, Error> {
    let deadline = async {
        if let Some(sent) = sent {
            // An error says that the body was dropped, which ends it too.
            let _ = sent.await;
        }
        tokio::time::sleep(context.response_deadline).await;
    };
    let begin = std::time::Instant::now();
    let answer = tokio::select! {
        biased;
        answer = context.upstream.send(outgoing, body) => answer?,
        () = deadline => {
            let endpoint = context.upstream.endpoint_text();
            return Err(upstream::Error::Timeout { endpoint, deadline: context.response_deadline }.into());
        }
    };
    context.metrics.response_head(begin.elapsed());
    if outgoing.upgrade.is_none()
        && answer.response.status() == http::StatusCode::SWITCHING_PROTOCOLS
    {
        let endpoint = context.upstream.endpoint_text();
        let reason = "it switches protocols without being asked to".to_owned();
        return Err(upstream::Error::BadUpgrade { endpoint, reason }.into());
    }
    Ok(answer)
}

/// Tells the server how its request ended, if that was not by the end of its response.
async fn conclude(id: &str, result: Result<Outcome, Error>, sender: &mut Sender) -> Outcome {
    let error = match result {
        Ok(outcome) => return outcome,
        Err(error) => error,
    };
    debug!(request.id = id, %error, "request failed");
    match error {
        Error::Upstream(upstream::Error::Body(_)) => {
            sender.reset(Code::Cancelled);
            Outcome::Cancelled
        }
        Error::Upstream(error) => {
            fail(sender, error.cause(), &error.to_string()).await;
            Outcome::Failed(error.cause())
        }
        Error::Refused(_) => {
            warn!(request.id = id, %error, "request refused");
            fail(sender, Cause::Refused, &error.to_string()).await;
            Outcome::Failed(Cause::Refused)
        }
        Error::Broken(_) | Error::Splice(splice::Error::Io(_)) => {
            sender.reset(Code::UpstreamBroken);
            Outcome::Broken
        }
        Error::Peer(_) | Error::Splice(splice::Error::Stream(_)) => {
            sender.reset(Code::Cancelled);
            Outcome::Cancelled
        }
        Error::Protocol(_) | Error::Late => {
            sender.reset(Code::Protocol);
            Outcome::Protocol
        }
    }
}

async fn fail(sender: &mut Sender, cause: Cause, message: &str) {
    // The reader takes no control characters and 2 KiB at most.
    let message = message
        .chars()
        .filter(|char| !char.is_control())
        .take(500)
        .collect();
    let mut out = BytesMut::new();
    Failure { cause, message }.encode(&mut out);
    if sender.write(out.freeze()).await.is_ok() {
        sender.finish();
    }
}

#[cfg(test)]
mod tests;
