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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn refused() -> Outcome {
        Err(Error::Unknown)
    }

    #[tokio::test]
    async fn all_who_wait_get_the_one_answer() {
        let flights = Flights::default();
        let (asked, gate) = (AtomicUsize::new(0), tokio::sync::Semaphore::new(0));
        let join = async || {
            let flight = flights.join([7; 32]);
            let ask = async {
                asked.fetch_add(1, Ordering::Relaxed);
                let _ = gate.acquire().await;
                refused()
            };
            flight.land(ask).await.map(drop)
        };
        let open = async { gate.add_permits(1) };
        let (one, two, three, ()) = tokio::join!(join(), join(), join(), open);
        assert_eq!([one, two, three], [(); 3].map(|()| Err(Error::Unknown)));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert!(flights.under_way.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn one_that_goes_away_leaves_nothing_behind() {
        let flights = Flights::default();
        let (first, second) = (flights.join([7; 32]), flights.join([7; 32]));
        let gone = tokio::time::timeout(
            std::time::Duration::ZERO,
            first.land(std::future::pending()),
        );
        assert!(gone.await.is_err());
        drop(first);
        assert_eq!(
            flights.under_way.lock().unwrap().len(),
            1,
            "the second is there"
        );
        assert!(second.land(async { refused() }).await.is_err());
        drop(second);
        let abandoned = flights.join([8; 32]);
        drop(abandoned);
        assert!(flights.under_way.lock().unwrap().is_empty());
    }
}
