//! Log lines that strangers can cause: so many a period, and how many were left out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Decides which lines are said. Each label has a budget of its own, so that a flood of one does not hide another.
#[derive(Debug)]
pub struct Sparing {
    lines: u32,
    period: Duration,
    labels: Mutex<HashMap<&'static str, Period>>,
}

#[derive(Debug)]
struct Period {
    since: Instant,
    said: u32,
    unsaid: u64,
}

impl Sparing {
    /// So many lines a period for each label.
    #[must_use]
    pub fn new(lines: u32, period: Duration) -> Self {
        Self {
            lines,
            period,
            labels: Mutex::default(),
        }
    }

    /// Whether the next line of this label is said, and how many before it were not.
    #[must_use]
    pub fn say(&self, label: &'static str) -> Option<u64> {
        self.say_at(label, Instant::now())
    }

    fn say_at(&self, label: &'static str, now: Instant) -> Option<u64> {
        let mut labels = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        let period = labels.entry(label).or_insert(Period {
            since: now,
            said: 0,
            unsaid: 0,
        });
        if now.duration_since(period.since) >= self.period {
            (period.since, period.said) = (now, 0);
        }
        if period.said == self.lines {
            period.unsaid += 1;
            return None;
        }
        period.said += 1;
        Some(std::mem::take(&mut period.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_so_many_a_period_and_how_many_not() {
        let sparing = Sparing::new(2, Duration::from_secs(10));
        let begin = Instant::now();
        let said: Vec<_> = (0..5).map(|_| sparing.say_at("token", begin)).collect();
        assert_eq!(said, [Some(0), Some(0), None, None, None]);
        let other = sparing.say_at("handshake", begin);
        assert_eq!(other, Some(0), "a budget of its own");
        let later = begin + Duration::from_secs(10);
        let said: Vec<_> = (0..3).map(|_| sparing.say_at("token", later)).collect();
        assert_eq!(said, [Some(3), Some(0), None]);
    }
}
