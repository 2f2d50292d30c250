//! One connection of a client: where it comes from, and whether it has shown a good credential.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::decided::{Decided, Question};
use super::limits::address::Place;
use super::limits::{Addresses, Over};

/// What outlives a request on its connection.
#[derive(Debug)]
pub struct Client {
    pub address: SocketAddr,
    addresses: Addresses,
    known: AtomicBool,
    /// Among the connections of its address that have not shown a good credential.
    place: Mutex<Option<Place>>,
    /// The latest decision: nearly every request of a connection is by one job, to one agent.
    decided: Mutex<Option<Arc<Decided>>>,
}

impl Client {
    /// `None` when its address has as many connections without a good credential as it may.
    pub fn new(address: SocketAddr, addresses: &Addresses) -> Option<Self> {
        let place = addresses.enter(address.ip())?;
        Some(Self {
            address,
            addresses: addresses.clone(),
            known: AtomicBool::new(false),
            place: Mutex::new(Some(place)),
            decided: Mutex::default(),
        })
    }

    /// Whether it has shown a good credential.
    pub fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }

    /// Whether a request from here is looked at.
    ///
    /// # Errors
    /// It has shown no good credential, and too many requests from its address were rejected just now.
    pub fn may_ask(&self) -> Result<(), Over> {
        if !self.is_known() {
            self.addresses.check(self.address.ip())?;
        }
        Ok(())
    }

    /// It has shown a good credential.
    pub fn authenticated(&self) {
        if !self.known.swap(true, Ordering::Relaxed) {
            let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
            place.take();
        }
    }

    /// What was decided here, if this is what was asked.
    pub(super) fn decided(&self, question: &Question<'_>) -> Option<Arc<Decided>> {
        let decided = self.last_decided();
        decided
            .as_ref()
            .filter(|decided| decided.answers(question))
            .cloned()
    }

    pub(super) fn remember(&self, decided: &Arc<Decided>) {
        *self.last_decided() = Some(Arc::clone(decided));
    }

    fn last_decided(&self) -> MutexGuard<'_, Option<Arc<Decided>>> {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request of it was refused, by its fault or not. False: it has no line of its own, for strangers must not fill
    /// the log.
    pub fn refused(&self, by_fault: bool) -> bool {
        let address = self.address.ip();
        if self.is_known() {
            return true;
        }
        if by_fault {
            self.addresses.rejected(address);
            return true;
        }
        let said = self.addresses.unlucky(address);
        if !said {
            self.addresses.unsaid(address);
        }
        said
    }

    /// A request of it was not looked at, and has no line.
    pub fn unheard(&self) {
        self.addresses.unsaid(self.address.ip());
    }
}
