//! One admitted connection of an agent.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use ci_tunnel::protocol::code::Code;
use ci_tunnel::protocol::control::{Health, Hello};
use ci_tunnel::transport::connection::Connection;
use ci_tunnel::transport::stream::{Receiver, Sender};
use tokio::sync::{Notify, Semaphore};

use super::standing::{Standing, Trouble};
use crate::identity::AgentId;
use crate::metrics::Metrics;
use crate::store::{AgentTokenId, AgentTokenRecord};

/// A live connection of an agent. Requests hold it; the registry hands it out.
#[derive(Debug)]
pub struct Session {
    pub id: u64,
    pub agent: AgentId,
    /// The number of the agent token it was admitted with, and when that ends.
    pub token: AgentTokenId,
    pub token_expires: Option<SystemTime>,
    pub hello: Hello,
    pub since: SystemTime,
    connection: Connection,
    running: AtomicUsize,
    /// For requests, as many as the agent takes.
    places: Semaphore,
    draining: AtomicBool,
    pub standing: Standing,
    /// Notified when the agent opens another session.
    newer: Notify,
    /// Notified when a request hints that requests do not get through.
    suspected: Notify,
    health: Mutex<Health>,
}

/// A request that runs on a session; counted until dropped.
#[derive(Debug)]
pub struct Running {
    session: Arc<Session>,
    has_place: bool,
}

/// Why no stream was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unopened {
    /// The connection is gone; the registry is about to learn of it.
    Gone,
    /// The stream limit stayed reached.
    Full,
}

impl Session {
    /// The token is dropped: nothing needs it any more.
    pub fn new(
        id: u64,
        token: &AgentTokenRecord,
        hello: Hello,
        connection: Connection,
        metrics: &Metrics,
        most: usize,
    ) -> Self {
        // Agents that do not say how many they take leave it to the transport.
        let places = hello.max_streams.map_or(most, |streams| {
            usize::try_from(streams).unwrap_or(most).min(most)
        });
        Self {
            id,
            agent: token.agent,
            token: token.id,
            token_expires: token.expires_at,
            hello: Hello {
                token: String::new(),
                ..hello
            },
            since: SystemTime::now(),
            connection,
            running: AtomicUsize::new(0),
            places: Semaphore::new(places.min(Semaphore::MAX_PERMITS)),
            draining: AtomicBool::new(false),
            standing: Standing::new(metrics),
            newer: Notify::new(),
            suspected: Notify::new(),
            health: Mutex::new(Health {
                ready: true,
                message: String::new(),
            }),
        }
    }

    /// Opens a request stream.
    ///
    /// # Errors
    /// The connection is gone, or the stream limit stays reached for `deadline`.
    pub async fn open(
        self: &Arc<Self>,
        deadline: Duration,
    ) -> Result<(Running, Sender, Receiver), Unopened> {
        self.running.fetch_add(1, Ordering::Relaxed);
        let mut running = Running {
            session: Arc::clone(self),
            has_place: false,
        };
        let open = async {
            if let Ok(place) = self.places.acquire().await {
                running.has_place = true;
                place.forget();
            }
            self.connection.open().await
        };
        match tokio::time::timeout(deadline, open).await {
            Ok(Ok((sender, receiver))) => Ok((running, sender, receiver)),
            Ok(Err(_)) => Err(Unopened::Gone),
            Err(_) => Err(Unopened::Full),
        }
    }

    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Whether new requests may go here: its agent does not drain.
    pub fn accepts(&self) -> bool {
        !self.draining.load(Ordering::Relaxed)
    }

    /// Takes note of a trouble and why, or of its end.
    pub fn trouble(&self, trouble: Trouble, why: Option<String>) {
        let words = why.clone();
        if self.standing.set(trouble, why) {
            tracing::info!(
                agent.id = self.agent.0,
                session.id = self.id,
                trouble = trouble.name(),
                because = words.as_deref().unwrap_or("it is over"),
                "how well a session serves"
            );
        }
    }

    /// A request got no answer: others may not get one either, which is to be found out.
    pub fn suspect(&self) {
        self.suspected.notify_one();
    }

    /// Waits for a suspicion.
    pub async fn suspected(&self) {
        self.suspected.notified().await;
    }

    /// Tells that the agent has a newer session, so that this one must prove that it lives.
    pub(super) fn supersede(&self) {
        self.newer.notify_one();
    }

    /// Waits for a newer session of the agent.
    pub async fn superseded(&self) {
        self.newer.notified().await;
    }

    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub fn health(&self) -> Health {
        self.health
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    pub fn set_health(&self, health: Health) {
        let why = || format!("the API server does not answer: {}", health.message);
        self.trouble(Trouble::ApiServer, (!health.ready).then(why));
        *self
            .health
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = health;
    }

    pub fn close(&self, code: Code, reason: &str) {
        self.connection.close(code, reason);
    }

    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    pub fn remote_address(&self) -> SocketAddr {
        self.connection.remote_address()
    }
}

impl Running {
    /// The session that carries it.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.session.running.fetch_sub(1, Ordering::Relaxed);
        if self.has_place {
            self.session.places.add_permits(1);
        }
    }
}
