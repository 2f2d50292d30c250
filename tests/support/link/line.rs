//! What becomes of a packet, and when: a pure function of the conditions, a seed and the packets before it.

#[cfg(test)]
mod tests;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// What one direction of a link is like. By default it is perfect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// How long each packet is on its way.
    pub delay: Duration,
    /// Up to so much longer, evenly distributed. Packets keep their order.
    pub jitter: Duration,
    /// The share of packets that never arrive, 0 to 1.
    pub loss: f64,
    /// The share that arrives twice.
    pub duplicate: f64,
    /// The share that is held back for `held_back`, so that later ones overtake it.
    pub reorder: f64,
    pub held_back: Duration,
    /// Bits a second; `None` is no limit.
    pub rate: Option<u64>,
    /// How many bytes may wait for the rate; what finds no room is dropped.
    pub buffer: u64,
    /// The same seed loses, duplicates and holds back the same packets.
    pub seed: u64,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// There is no room for it.
    Overflows,
    Lost,
    Arrives {
        at: Duration,
        /// A second copy.
        again: Option<Duration>,
        held_back: bool,
    },
}

/// One direction of a link. Times count from any beginning and never fall.
#[derive(Debug)]
pub struct Line {
    conditions: Conditions,
    random: StdRng,
    /// When the last byte that waits for the rate is sent.
    free: Duration,
    /// When the latest packet arrives that was not held back.
    latest: Duration,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            held_back: Duration::from_millis(5),
            rate: None,
            buffer: 1_000_000,
            seed: 1,
        }
    }
}

impl Conditions {
    /// Those of the other direction: the same, with other chances.
    #[must_use]
    pub fn mirrored(&self) -> Self {
        Self {
            seed: !self.seed,
            ..*self
        }
    }
}

impl Line {
    pub fn new(conditions: &Conditions) -> Self {
        Self {
            conditions: *conditions,
            random: StdRng::seed_from_u64(conditions.seed),
            free: Duration::ZERO,
            latest: Duration::ZERO,
        }
    }

    /// From now on these hold. The sequence of chances begins anew only with another seed.
    pub fn set(&mut self, conditions: &Conditions) {
        if conditions.seed != self.conditions.seed {
            self.random = StdRng::seed_from_u64(conditions.seed);
        }
        self.conditions = *conditions;
    }

    /// Takes a packet of so many bytes.
    pub fn take(&mut self, now: Duration, length: usize) -> Fate {
        // All are drawn for every packet, so that its number alone decides what happens to it.
        let [loss, duplicate, reorder, jitter] = std::array::from_fn(|_| self.random.random());
        let Some(sent) = self.send(now, length as u64) else {
            return Fate::Overflows;
        };
        if loss < self.conditions.loss {
            return Fate::Lost;
        }
        let mut at = sent + self.conditions.delay + self.conditions.jitter.mul_f64(jitter);
        at = at.max(self.latest);
        let held_back = reorder < self.conditions.reorder;
        if held_back {
            at += self.conditions.held_back;
        } else {
            self.latest = at;
        }
        let again = (duplicate < self.conditions.duplicate).then_some(at);
        Fate::Arrives {
            at,
            again,
            held_back,
        }
    }

    /// When its last byte is on the wire; `None` when it finds no room. A bucket that leaks at the rate: what is in it is
    /// what waits.
    fn send(&mut self, now: Duration, length: u64) -> Option<Duration> {
        let Some(rate) = self.conditions.rate else {
            return Some(now);
        };
        let waiting = self.free.saturating_sub(now).as_secs_f64() * rate as f64 / 8.0;
        if waiting + length as f64 > self.conditions.buffer as f64 {
            return None;
        }
        let takes = Duration::from_secs_f64(length as f64 * 8.0 / rate as f64);
        self.free = self.free.max(now) + takes;
        Some(self.free)
    }
}
