//! Proof of life through the data path: a small request to the API server, by the way that jobs' requests take.
//!
//! Pings tell that the agent's program lives; a session on which they pass and requests do not would otherwise be found by
//! each job anew.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ci_tunnel::protocol::MAX_HEAD_FRAME;
use ci_tunnel::protocol::head::{RequestHead, RequestKind};
use ci_tunnel::protocol::identity::KubernetesIdentity;
use ci_tunnel::transport::stream::{self, Receiver, Sender};
use http::{HeaderMap, Method};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::agents::Session;

/// What is asked for: every authenticated user may read it. The agent asks for it as itself.
const PATH: &[u8] = b"/version";
/// For an answer of any kind.
const DEADLINE: Duration = Duration::from_secs(5);
/// Between probes while there is none, and at least between any two.
const AGAIN: Duration = Duration::from_secs(5);
/// All sessions together send no more than one probe in so long.
const SHARE: Duration = Duration::from_millis(10);

/// Why requests do not get through; `None`: they do.
pub(super) type Verdict = Option<String>;

/// The probes of one session.
#[derive(Debug)]
pub(super) struct Probes {
    every: Duration,
    last: Instant,
    next: Instant,
    number: u64,
    asking: Option<AbortOnDropHandle<Verdict>>,
}

impl Probes {
    /// Zero: never.
    pub(super) fn new(every: Duration) -> Self {
        let now = Instant::now();
        Self {
            every,
            last: now,
            next: now + every.mul_f64(rand::random_range(0.3..1.0)),
            number: 0,
            asking: None,
        }
    }

    /// The next verdict, of `sessions` that there are. Losing a race loses nothing.
    pub(super) async fn next(&mut self, session: &Arc<Session>, sessions: usize) -> Verdict {
        if self.every.is_zero() {
            return std::future::pending().await;
        }
        if self.asking.is_none() {
            tokio::select! {
                () = sleep_until(self.next) => {}
                () = session.suspected() => sleep_until(self.next.min(self.last + AGAIN)).await,
            }
            self.last = Instant::now();
            self.number += 1;
            let id = format!("probe-{}-{}", session.id, self.number);
            let asking = tokio::spawn(ask(Arc::clone(session), id));
            self.asking = Some(AbortOnDropHandle::new(asking));
        }
        let Some(asking) = &mut self.asking else {
            return std::future::pending().await;
        };
        // An error is a panic, which says nothing of the session.
        let verdict = asking.await.unwrap_or_default();
        self.asking = None;
        let pause = if verdict.is_some() {
            AGAIN
        } else {
            let share = SHARE * u32::try_from(sessions).unwrap_or(u32::MAX);
            self.every.max(share).mul_f64(rand::random_range(0.8..1.2))
        };
        self.next = Instant::now() + pause;
        verdict
    }
}

async fn ask(session: Arc<Session>, id: String) -> Verdict {
    // No place for a stream is no sign that those that have one are stuck.
    let (_running, sender, receiver) = session.open(DEADLINE).await.ok()?;
    let head = RequestHead {
        agent: session.agent.0,
        request_id: id,
        method: Method::GET,
        target: Bytes::from_static(PATH),
        headers: HeaderMap::new(),
        kind: RequestKind::Empty,
        identity: KubernetesIdentity::Agent,
    };
    let silent = || {
        let seconds = DEADLINE.as_secs();
        format!(
            "requests are stuck: no answer to {} in {seconds} s, though pings pass",
            "GET /version"
        )
    };
    match timeout(DEADLINE, exchange(&head, sender, receiver)).await {
        Err(_) => Some(silent()),
        // A refusal is an answer, and a connection that breaks tells so itself.
        Ok(_) => None,
    }
}

async fn exchange(
    head: &RequestHead,
    mut sender: Sender,
    mut receiver: Receiver,
) -> Result<(), stream::Error> {
    let mut out = BytesMut::new();
    head.encode(&mut out)?;
    sender.write(out.freeze()).await?;
    sender.finish();
    receiver.frame(MAX_HEAD_FRAME).await?;
    // To its end: the agent's connection to the API server is good for the next request then.
    while receiver.body().await?.is_some() {}
    Ok(())
}
