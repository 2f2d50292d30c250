//! What one address may do before it has shown a good credential: connections, and credentials that are rejected.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::config::AddressLimit;
use super::{Bound, Kind, Over};
use crate::metrics::{LimitLabels, Metrics};

/// Clones share the counts.
#[derive(Debug, Clone)]
pub struct Addresses {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    metrics: Metrics,
}

#[derive(Debug)]
struct State {
    limit: AddressLimit,
    known: HashMap<IpAddr, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Without a good credential, now.
    connections: u32,
    /// Credentials that were rejected since `since`.
    rejected: u32,
    since: Instant,
}

/// The place of a connection that has not shown a good credential, free again when dropped.
#[derive(Debug)]
pub struct Place {
    addresses: Addresses,
    address: IpAddr,
}

/// Rejected credentials are counted for so long, then from zero again.
const WINDOW: Duration = Duration::from_secs(1);

impl Addresses {
    pub(super) fn new(limit: AddressLimit, metrics: Metrics) -> Self {
        let state = State {
            limit,
            known: HashMap::new(),
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                metrics,
            }),
        }
    }

    /// A place for one more connection; `None` when the address has as many as it may.
    pub fn enter(&self, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let mut state = self.state();
        let limit = state.limit.connections;
        let entry = state.known.entry(address).or_insert_with(Entry::new);
        if limit > 0 && entry.connections >= limit {
            drop(state);
            self.count(Bound::Connections);
            return None;
        }
        entry.connections += 1;
        drop(state);
        Some(Place {
            addresses: self.clone(),
            address,
        })
    }

    /// Whether a credential from this address may be looked at.
    ///
    /// # Errors
    /// Too many from there were rejected just now.
    pub fn check(&self, address: IpAddr) -> Result<(), Over> {
        let state = self.state();
        let limit = state.limit.rejected_per_second;
        let Some(entry) = state.known.get(&network(address)) else {
            return Ok(());
        };
        let left = WINDOW.saturating_sub(entry.since.elapsed());
        if limit == 0 || entry.rejected < limit || left.is_zero() {
            return Ok(());
        }
        drop(state);
        self.count(Bound::Rejected);
        Err(Over {
            kind: Kind::Address,
            bound: Bound::Rejected,
            value: limit,
            retry_after: left,
        })
    }

    /// A credential from this address was rejected.
    pub fn rejected(&self, address: IpAddr) {
        let mut state = self.state();
        let entry = state
            .known
            .entry(network(address))
            .or_insert_with(Entry::new);
        if entry.since.elapsed() >= WINDOW {
            (entry.since, entry.rejected) = (Instant::now(), 0);
        }
        entry.rejected = entry.rejected.saturating_add(1);
    }

    pub(super) fn change(&self, limit: AddressLimit) {
        self.state().limit = limit;
    }

    /// Forgets addresses that have not been seen lately. The rest is no more than the connections are.
    pub(super) fn sweep(&self) {
        let mut state = self.state();
        state.known.retain(|_, entry| !entry.is_idle());
        let length = state.known.len();
        state.known.shrink_to(length.max(1024));
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.state().known.len()
    }

    fn count(&self, bound: Bound) {
        let labels = LimitLabels {
            scope: Kind::Address.name(),
            limit: bound.name(),
        };
        self.shared.metrics.limited.get_or_create(&labels).inc();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn new() -> Self {
        Self {
            connections: 0,
            rejected: 0,
            since: Instant::now(),
        }
    }

    fn is_idle(&self) -> bool {
        self.connections == 0 && (self.rejected == 0 || self.since.elapsed() >= WINDOW)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.addresses.state();
        if let Some(entry) = state.known.get_mut(&self.address) {
            entry.connections -= 1;
            if entry.is_idle() {
                state.known.remove(&self.address);
            }
        }
    }
}

/// Whoever has an IPv6 address has a whole network of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & (u128::MAX << 64);
            IpAddr::V6(network.into())
        }
        address => address,
    }
}
