//! Idle HTTP/1.1 connections to the API server, the last used first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::Body;
use super::credentials::Tls;

/// Below the 90 s after which an API server closes idle connections, so that we seldom write into a closing one.
const IDLE_LIMIT: Duration = Duration::from_secs(75);
/// How long a connection may take to be ready again after a response's end: what is left of an upload, or hyper's turn.
const SETTLE: Duration = Duration::from_secs(1);

/// One connection. Dropping it closes it, whatever it was doing.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: SendRequest<Body>,
    _driver: AbortOnDropHandle<()>,
    tls: Option<Arc<Tls>>,
}

impl Connection {
    pub(super) fn new(
        sender: SendRequest<Body>,
        driver: AbortOnDropHandle<()>,
        tls: Option<Arc<Tls>>,
    ) -> Self {
        Self {
            sender,
            _driver: driver,
            tls,
        }
    }

    fn trusts(&self, tls: Option<&Arc<Tls>>) -> bool {
        same(self.tls.as_ref(), tls)
    }
}

/// Bounded; what does not fit is closed.
#[derive(Debug)]
pub(super) struct Pool {
    idle: Mutex<Idle>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Idle {
    /// The longest idle first.
    connections: VecDeque<(Instant, Connection)>,
    /// What the last one was asked for with.
    tls: Option<Arc<Tls>>,
}

impl Pool {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            idle: Mutex::default(),
            limit,
        }
    }

    /// An open connection made under `tls`, if there is one. All others made under another one are closed.
    pub(super) fn take(&self, tls: Option<&Arc<Tls>>) -> Option<Connection> {
        let mut idle = self.idle();
        idle.close_old();
        idle.keep_trusted(tls);
        while let Some((_, connection)) = idle.connections.pop_back() {
            if connection.sender.is_ready() && connection.trusts(tls) {
                return Some(connection);
            }
        }
        None
    }

    /// Takes a connection back once it can carry another request; closes it when that does not come.
    pub(super) async fn give_back(&self, mut connection: Connection) {
        if !matches!(timeout(SETTLE, connection.sender.ready()).await, Ok(Ok(()))) {
            return;
        }
        let mut idle = self.idle();
        if idle.connections.len() < self.limit {
            idle.connections.push_back((Instant::now(), connection));
        }
    }

    /// How many connections wait.
    pub(super) fn len(&self) -> usize {
        self.idle().connections.len()
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle
            .lock()
            .expect("no code panics while it holds this lock")
    }
}

impl Idle {
    fn close_old(&mut self) {
        let now = Instant::now();
        let old = |(since, _): &(Instant, Connection)| now.duration_since(*since) >= IDLE_LIMIT;
        while self.connections.front().is_some_and(old) {
            self.connections.pop_front();
        }
    }

    /// Looks at every connection only when `tls` is another one than last time.
    fn keep_trusted(&mut self, tls: Option<&Arc<Tls>>) {
        if !same(self.tls.as_ref(), tls) {
            self.connections
                .retain(|(_, connection)| connection.trusts(tls));
            self.tls = tls.cloned();
        }
    }
}

fn same(one: Option<&Arc<Tls>>, other: Option<&Arc<Tls>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}
