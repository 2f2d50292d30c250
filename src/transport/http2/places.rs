//! The server's count of request streams that an agent still takes.
//!
//! The library would queue what is over the agent's limit, and not say so: whoever opens a stream must be able to wait
//! for a place, and to give up.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::OWN_STREAMS;

/// Held for as long as a stream is.
pub(super) type Place = OwnedSemaphorePermit;

/// The places of one connection.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    /// How many there are, taken ones included.
    all: Mutex<usize>,
}

impl Places {
    pub(super) fn new() -> Self {
        Self {
            free: Arc::new(Semaphore::new(0)),
            all: Mutex::new(0),
        }
    }

    /// Waits for a place. The agent's limit is in its first words, so it is known once an agent is admitted.
    pub(super) async fn take(&self, requests: &SendRequest<Bytes>) -> Option<Place> {
        let limit = requests
            .current_max_send_streams()
            .min(Semaphore::MAX_PERMITS)
            .saturating_sub(OWN_STREAMS as usize);
        {
            let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            if limit > *all {
                self.free.add_permits(limit - *all);
                *all = limit;
            }
        }
        Arc::clone(&self.free).acquire_owned().await.ok()
    }
}
