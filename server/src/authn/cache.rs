//! A bounded map that forgets what was not used lately.

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, PoisonError};

/// Two generations: what is used is in the young one; when that is full it becomes the old one, and the old one's
/// unused entries are gone. Every operation is one or two look-ups, and there is no clock in it.
#[derive(Debug)]
pub(super) struct Cache<T> {
    half: usize,
    generations: Mutex<Generations<T>>,
}

#[derive(Debug)]
struct Generations<T> {
    young: HashMap<[u8; 32], T>,
    old: HashMap<[u8; 32], T>,
}

impl<T: Clone> Cache<T> {
    /// Holds `capacity` entries at most, and the latest `capacity / 2` for sure.
    pub(super) fn new(capacity: usize) -> Self {
        let generations = Generations {
            young: HashMap::new(),
            old: HashMap::new(),
        };
        Self {
            half: (capacity / 2).max(1),
            generations: Mutex::new(generations),
        }
    }

    pub(super) fn get(&self, key: &[u8; 32]) -> Option<T> {
        let mut generations = self
            .generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = generations.young.get(key) {
            return Some(value.clone());
        }
        let value = generations.old.remove(key)?;
        generations.insert(*key, value.clone(), self.half);
        Some(value)
    }

    pub(super) fn insert(&self, key: [u8; 32], value: T) {
        let mut generations = self
            .generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        generations.insert(key, value, self.half);
    }
}

impl<T> Generations<T> {
    fn insert(&mut self, key: [u8; 32], value: T, half: usize) {
        if self.young.len() >= half {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> [u8; 32] {
        [number; 32]
    }

    #[test]
    fn is_bounded_and_keeps_what_is_used() {
        let cache = Cache::new(8);
        for number in 0..200 {
            cache.insert(key(number), number);
            assert_eq!(cache.get(&key(0)), Some(0), "used after each of {number}");
            let generations = cache.generations.lock().unwrap();
            assert!(generations.young.len() + generations.old.len() <= 8);
        }
        assert_eq!(cache.get(&key(199)), Some(199));
        assert_eq!(cache.get(&key(100)), None);
    }
}
