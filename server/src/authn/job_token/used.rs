//! The tokens that running requests hold, by their fingerprints, for as long as one holds them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Whoever holds a token, as long as somebody does.
#[derive(Debug)]
pub(super) struct Used<T> {
    holders: Mutex<Holders<T>>,
}

type Holders<T> = HashMap<[u8; 32], Weak<T>>;

impl<T> Default for Used<T> {
    fn default() -> Self {
        Self {
            holders: Mutex::default(),
        }
    }
}

impl<T> Used<T> {
    pub(super) fn insert(&self, key: [u8; 32], holder: &Arc<T>) {
        let mut holders = self.lock();
        if holders.len() == holders.capacity() {
            holders.retain(|_, holder| holder.strong_count() > 0);
            // For as many again, so that looking through all costs little by the token.
            let length = holders.len();
            holders.reserve(length);
        }
        holders.insert(key, Arc::downgrade(holder));
    }

    pub(super) fn get(&self, key: &[u8; 32]) -> Option<Arc<T>> {
        self.lock().get(key)?.upgrade()
    }

    /// All that are held.
    pub(super) fn all(&self) -> Vec<([u8; 32], Arc<T>)> {
        let holders = self.lock();
        let held = holders.iter();
        held.filter_map(|(key, holder)| Some((*key, holder.upgrade()?)))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Holders<T>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_holds_is_forgotten_as_others_come() {
        let used = Used::default();
        let held: Vec<_> = (0..100_u64).map(Arc::new).collect();
        for holder in held.iter().cloned().chain((100..100_000).map(Arc::new)) {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&holder.to_be_bytes());
            used.insert(key, &holder);
        }
        let remembered = used.lock().len();
        assert!((100..1000).contains(&remembered), "{remembered}");
        assert_eq!(used.all().len(), held.len());
    }
}
