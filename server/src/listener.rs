//! The listener that agents connect to, over QUIC or HTTP/2.

pub mod admit;
pub mod control;
pub mod door;
mod pings;
mod probe;
mod turns;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ci_tunnel::config::net::Quic;
use ci_tunnel::protocol::code::Code;
use ci_tunnel::runtime::drain;
use ci_tunnel::runtime::sparing::Sparing;
use ci_tunnel::transport::connection::Transport;
use ci_tunnel::transport::credit::Budget;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::agents::Registry;
use crate::audit::Audit;
use crate::audit::event::What;
use crate::configrepo::Snapshot;
use crate::metrics::{AdmissionLabels, Metrics};
use crate::store::Store;
use door::{Door, Visitor};

/// Bounds of the listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Agent connections at a time; more are refused with [`Code::Overloaded`].
    pub sessions: usize,
    /// How often an idle session's data path is probed; zero: never.
    pub probe_every: Duration,
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
    pub quic: Quic,
    /// What requests of all agents may hold.
    pub budget: Arc<Budget>,
    pub drain: drain::Notice,
    /// What draining agents' requests have.
    pub drain_grace: Duration,
    pub sessions: AtomicU64,
    /// Whoever finds the port can try tokens as fast as the network carries them.
    pub strangers: Sparing,
}

/// For the handshake, hello and welcome together.
const ADMISSION: Duration = Duration::from_secs(10);
/// For the sessions to hear that the server ends.
const CLOSE: Duration = Duration::from_secs(1);

impl Listener {
    /// Accepts agents until told to drain, and serves those that are there until `end`: requests that still run need
    /// them.
    pub async fn serve(self: Arc<Self>, mut door: Door, end: oneshot::Receiver<()>) {
        let places = Arc::new(Semaphore::new(self.limits.sessions));
        let mut sessions = JoinSet::new();
        loop {
            let visitor = tokio::select! {
                biased;
                () = self.drain.draining() => break,
                Some(_) = sessions.join_next() => continue,
                visitor = door.next() => visitor,
            };
            let Some(visitor) = visitor else { break };
            let place = Arc::clone(&places).try_acquire_owned().ok();
            let number = self.sessions.fetch_add(1, Ordering::Relaxed);
            let span = tracing::info_span!(
                "session",
                session.id = number,
                peer = %visitor.address,
                transport = visitor.transport().name()
            );
            let session = Arc::clone(&self).session(visitor, number, place);
            sessions.spawn(session.instrument(span));
        }
        let leaving = door.shut();
        tokio::select! {
            // An error means that whoever would say so is gone.
            _ = end => {}
            () = leaving.ignore() => {}
        }
        for session in self.registry.all() {
            session.close(Code::Restarting, "the server is shutting down");
        }
        let ended = async { while sessions.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(CLOSE, async { tokio::join!(leaving.close(), ended) }).await;
    }

    async fn session(
        self: Arc<Self>,
        visitor: Visitor,
        number: u64,
        place: Option<OwnedSemaphorePermit>,
    ) {
        let (transport, client) = (visitor.transport(), visitor.address);
        let admission = self.admission(visitor, number, place.is_some());
        let admission = tokio::time::timeout(ADMISSION, admission).await;
        let outcome = match admission {
            Ok(Ok(admitted)) => {
                self.count("admitted", transport);
                return control::run(&self, admitted).await;
            }
            Ok(Err(error)) => error,
            Err(_) => admit::Error::Deadline,
        };
        self.count(outcome.label(), transport);
        if outcome.is_leaving() {
            return tracing::debug!("an agent left before it was admitted: {outcome}");
        }
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
        visitor: Visitor,
        number: u64,
        room: bool,
    ) -> Result<admit::Admitted, admit::Error> {
        let (connection, handshake) = visitor.enter().await?;
        // Whoever has a place is counted by that from here on: strangers that say no hello must not keep agents from
        // their handshakes.
        let _handshake = (!room).then_some(handshake);
        admit::admit(self, connection, number, room).await
    }

    fn count(&self, reason: &'static str, transport: Transport) {
        let labels = AdmissionLabels {
            reason,
            transport: transport.name(),
        };
        self.metrics.agent_admissions.get_or_create(&labels).inc();
    }
}
