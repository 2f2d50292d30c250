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
        match (&self.tls, tls) {
            (None, None) => true,
            (Some(made), Some(current)) => Arc::ptr_eq(made, current),
            _ => false,
        }
    }
}

/// Bounded; what does not fit is closed.
#[derive(Debug)]
pub(super) struct Pool {
    idle: Mutex<VecDeque<(Instant, Connection)>>,
    limit: usize,
}

impl Pool {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            idle: Mutex::default(),
            limit,
        }
    }

    /// The open connection used last, if there is one made under `tls`. Once trust has changed, all of the old are closed.
    pub(super) fn take(&self, tls: Option<&Arc<Tls>>) -> Option<Connection> {
        let mut idle = self.idle();
        while idle
            .front()
            .is_some_and(|(since, _)| since.elapsed() >= IDLE_LIMIT)
        {
            idle.pop_front();
        }
        while let Some((_, connection)) = idle.pop_back() {
            if !connection.trusts(tls) {
                idle.retain(|(_, connection)| connection.trusts(tls));
            } else if connection.sender.is_ready() {
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
        if idle.len() < self.limit {
            idle.push_back((Instant::now(), connection));
        }
    }

    /// How many connections wait.
    pub(super) fn len(&self) -> usize {
        self.idle().len()
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<(Instant, Connection)>> {
        self.idle
            .lock()
            .expect("no code panics while it holds this lock")
    }
}
