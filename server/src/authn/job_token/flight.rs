//! One ask a token at a time: who wants to know of a token that is being asked about waits for that answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::Standing;
use crate::authn::Error;

type Outcome = Result<Arc<Standing>, Error>;
type Cell = Arc<OnceCell<Outcome>>;

/// The asks under way.
#[derive(Debug, Default)]
pub(super) struct Flights {
    under_way: Mutex<HashMap<[u8; 32], Cell>>,
}

/// A part in one of them. The last one to leave an ask that nobody finished ends it.
#[derive(Debug)]
pub(super) struct Flight<'a> {
    flights: &'a Flights,
    key: [u8; 32],
    cell: Cell,
}

impl Flights {
    /// Joins the ask about the token of `key`, or begins one.
    pub(super) fn join(&self, key: [u8; 32]) -> Flight<'_> {
        let mut under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let cell = Arc::clone(under_way.entry(key).or_default());
        drop(under_way);
        Flight {
            flights: self,
            key,
            cell,
        }
    }
}

impl Flight<'_> {
    /// What `ask` says, or whoever asked first. When that one goes away unfinished, the next one asks.
    pub(super) async fn land(&self, ask: impl Future<Output = Outcome>) -> Outcome {
        self.cell.get_or_init(|| ask).await.clone()
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut under_way = self
            .flights
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Joining takes the same lock, so nobody comes in between: this one and the map are the last two.
        let over = self.cell.initialized() || Arc::strong_count(&self.cell) <= 2;
        let same = under_way
            .get(&self.key)
            .is_some_and(|cell| Arc::ptr_eq(cell, &self.cell));
        if over && same {
            under_way.remove(&self.key);
        }
    }
}
