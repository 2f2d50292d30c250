//! What one address may do before it has shown a good credential: connections, requests that are refused, and lines
//! about them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::config::AddressLimit;
use super::{Bound, Kind, Over};
use crate::audit::event::Gap;
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
    /// Requests that were rejected since `since`.
    rejected: u32,
    /// Those that were refused for no fault of theirs.
    unlucky: u32,
    since: Instant,
    /// Requests that were refused and have no lines.
    unsaid: Option<Gap>,
}

/// The place of a connection that has not shown a good credential, free again when dropped.
#[derive(Debug)]
pub struct Place {
    addresses: Addresses,
    address: IpAddr,
}

/// Refusals are counted for so long, then from zero again.
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

    /// Whether a request from this address may be looked at.
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

    /// A request from this address was rejected.
    pub fn rejected(&self, address: IpAddr) {
        let mut state = self.state();
        let rejected = &mut state.now(address).rejected;
        *rejected = rejected.saturating_add(1);
    }

    /// A request from this address was refused for no fault of its own. False: it was one of so many that it has no line.
    pub fn unlucky(&self, address: IpAddr) -> bool {
        let mut state = self.state();
        let limit = state.limit.rejected_per_second;
        let unlucky = &mut state.now(address).unlucky;
        *unlucky = unlucky.saturating_add(1);
        limit == 0 || *unlucky <= limit
    }

    /// A request from this address was refused, and has no line.
    pub fn unsaid(&self, address: IpAddr) {
        let mut state = self.state();
        let entry = state.known.entry(network(address));
        let entry = entry.or_insert_with(Entry::new);
        Gap::add(&mut entry.unsaid, Timestamp::now());
    }

    /// What was refused without lines, by address, where it began that long ago; the most first.
    pub fn take_unsaid(&self, ago: SignedDuration) -> Vec<(IpAddr, Gap)> {
        let before = Timestamp::now() - ago;
        let mut state = self.state();
        let entries = state.known.iter_mut();
        let taken = entries.filter_map(|(address, entry)| {
            let unsaid = entry.unsaid.take_if(|unsaid| unsaid.since <= before)?;
            Some((*address, unsaid))
        });
        let mut taken: Vec<_> = taken.collect();
        drop(state);
        taken.sort_by_key(|(_, unsaid)| std::cmp::Reverse(unsaid.count));
        taken
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

impl State {
    /// The counts of the window that this moment is in.
    fn now(&mut self, address: IpAddr) -> &mut Entry {
        let entry = self.known.entry(network(address));
        let entry = entry.or_insert_with(Entry::new);
        if entry.since.elapsed() >= WINDOW {
            (entry.since, entry.rejected, entry.unlucky) = (Instant::now(), 0, 0);
        }
        entry
    }
}

impl Entry {
    fn new() -> Self {
        Self {
            connections: 0,
            rejected: 0,
            unlucky: 0,
            since: Instant::now(),
            unsaid: None,
        }
    }

    fn is_idle(&self) -> bool {
        let counts = self.rejected > 0 || self.unlucky > 0;
        let counted = counts && self.since.elapsed() < WINDOW;
        self.connections == 0 && self.unsaid.is_none() && !counted
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
pub(in crate::proxy) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & (u128::MAX << 64);
            IpAddr::V6(network.into())
        }
        address => address,
    }
}
