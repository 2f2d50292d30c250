//! The QUIC listener that agents connect to.

pub mod admit;
pub mod control;
mod pings;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ci_tunnel::protocol::code::Code;
use ci_tunnel::runtime::drain;
use ci_tunnel::runtime::sparing::Sparing;
use ci_tunnel::transport::endpoint::Connection;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::agents::Registry;
use crate::audit::Audit;
use crate::audit::event::What;
use crate::configrepo::Snapshot;
use crate::metrics::{Metrics, ReasonLabels};
use crate::store::Store;

/// Bounds of the listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Agent connections at a time; more are refused with [`Code::Overloaded`].
    pub sessions: usize,
}

/// Everything that admission needs.
#[derive(Debug)]
pub struct Listener {
    pub limits: Limits,
    pub store: Store,
    pub registry: Registry,
    pub rules: tokio::sync::watch::Receiver<Arc<Snapshot>>,
    pub metrics: Metrics,
    pub audit: Audit,
    pub drain: drain::Notice,
    /// What draining agents' requests have.
    pub drain_grace: Duration,
    pub sessions: AtomicU64,
    /// Whoever finds the port can try tokens as fast as the network carries them.
    pub strangers: Sparing,
}

/// QUIC and TLS handshakes at a time: each costs half a millisecond of CPU, and a storm of returning agents must leave
/// room for requests.
const HANDSHAKES: usize = 64;
/// For the QUIC handshake, hello and welcome together.
const ADMISSION: Duration = Duration::from_secs(10);
/// For close frames to leave.
const CLOSE: Duration = Duration::from_secs(1);
/// Waiting handshakes beyond which addresses must prove themselves (RFC 9000, section 8.1).
const VALIDATE_FROM: usize = 32;

impl Listener {
    /// Accepts agents until told to drain, and serves those that are there until `end`: requests that still run need
    /// them.
    pub async fn serve(self: Arc<Self>, endpoint: quinn::Endpoint, end: oneshot::Receiver<()>) {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
        let places = Arc::new(Semaphore::new(self.limits.sessions));
        let mut sessions = JoinSet::new();
        loop {
            let incoming = tokio::select! {
                biased;
                () = self.drain.draining() => break,
                Some(_) = sessions.join_next() => continue,
                incoming = endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { break };
            if handshakes.available_permits() < HANDSHAKES - VALIDATE_FROM && incoming.may_retry() {
                // An error only says that the packet was no longer of use.
                let _ = incoming.retry();
                continue;
            }
            let Ok(handshake) = Arc::clone(&handshakes).try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            let place = Arc::clone(&places).try_acquire_owned().ok();
            let number = self.sessions.fetch_add(1, Ordering::Relaxed);
            let span = tracing::info_span!("session", session.id = number, peer = %incoming.remote_address());
            sessions.spawn(
                Arc::clone(&self)
                    .session(incoming, number, handshake, place)
                    .instrument(span),
            );
        }
        // An error means that whoever would say so is gone.
        let _ = end.await;
        endpoint.close(Code::Restarting.into(), b"the server is shutting down");
        // The close frames need a moment to leave.
        let _ = tokio::time::timeout(CLOSE, endpoint.wait_idle()).await;
    }

    async fn session(
        self: Arc<Self>,
        incoming: quinn::Incoming,
        number: u64,
        handshake: tokio::sync::OwnedSemaphorePermit,
        place: Option<tokio::sync::OwnedSemaphorePermit>,
    ) {
        let client = incoming.remote_address();
        let admission = self.admission(incoming, number, handshake, place.is_some());
        let admission = tokio::time::timeout(ADMISSION, admission).await;
        let outcome = match admission {
            Ok(Ok(admitted)) => {
                self.count("admitted");
                return control::run(&self, admitted).await;
            }
            Ok(Err(error)) => error,
            Err(_) => admit::Error::Deadline,
        };
        self.count(outcome.label());
        if let Some(unsaid) = self.strangers.say(outcome.label()) {
            tracing::warn!(
                reason = outcome.label(),
                unsaid,
                "an agent was not admitted: {outcome}"
            );
            self.audit.event(What::AgentRefused {
                client,
                reason: outcome.label().to_owned(),
                message: outcome.to_string(),
                unsaid,
            });
        }
    }

    async fn admission(
        &self,
        incoming: quinn::Incoming,
        number: u64,
        handshake: tokio::sync::OwnedSemaphorePermit,
        room: bool,
    ) -> Result<admit::Admitted, admit::Error> {
        let connection = incoming.await.map_err(admit::Error::Handshake)?;
        // Whoever has a place is counted by that from here on: strangers that say no hello must not keep agents from
        // their handshakes.
        let _handshake = (!room).then_some(handshake);
        admit::admit(self, Connection::accepted(connection), number, room).await
    }

    fn count(&self, reason: &'static str) {
        self.metrics
            .agent_admissions
            .get_or_create(&ReasonLabels { reason })
            .inc();
    }
}
