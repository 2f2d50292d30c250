//! How long to wait between attempts.

use std::time::Duration;

/// Why the numbers make no backoff.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Error {
    /// The factor is less than 1 or not a number.
    #[error("a backoff's factor must be 1 or more, not {0}")]
    Factor(f64),
    /// The jitter is no fraction.
    #[error("a backoff's jitter must be between 0 and 1, not {0}")]
    Jitter(f64),
    /// The shortest delay is zero, or longer than the longest.
    #[error(
        "a backoff's shortest delay must be more than zero and at most its longest: {0:?} and {1:?}"
    )]
    Range(Duration, Duration),
}

/// Delays that grow from `min` to `max` by `factor`; each is shortened by a random part of up to `jitter` of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    factor: f64,
    jitter: f64,
}

impl Backoff {
    /// A checked backoff.
    ///
    /// # Errors
    /// The numbers make no sense.
    pub fn new(min: Duration, max: Duration, factor: f64, jitter: f64) -> Result<Self, Error> {
        if min.is_zero() || min > max {
            return Err(Error::Range(min, max));
        }
        if !(factor >= 1.0 && factor.is_finite()) {
            return Err(Error::Factor(factor));
        }
        if !(0.0..=1.0).contains(&jitter) {
            return Err(Error::Jitter(jitter));
        }
        Ok(Self {
            min,
            max,
            factor,
            jitter,
        })
    }

    /// The delays, without end.
    #[must_use]
    pub fn delays(&self) -> Delays {
        Delays {
            backoff: *self,
            next: self.min,
        }
    }
}

/// An endless sequence of delays.
#[derive(Debug, Clone)]
pub struct Delays {
    backoff: Backoff,
    next: Duration,
}

impl Delays {
    /// Begins again with the shortest: an attempt has succeeded.
    pub fn reset(&mut self) {
        self.next = self.backoff.min;
    }

    /// The next delay.
    pub fn next_delay(&mut self) -> Duration {
        let Backoff {
            max,
            factor,
            jitter,
            ..
        } = self.backoff;
        let delay = self.next;
        // Capped before it is a duration again, which can not hold every float.
        self.next = Duration::from_secs_f64((delay.as_secs_f64() * factor).min(max.as_secs_f64()));
        delay.mul_f64(1.0 - jitter * rand::random::<f64>())
    }
}

impl Iterator for Delays {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.next_delay())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn grows_to_its_maximum_and_begins_again() {
        let mut delays = Backoff::new(SECOND, 5 * SECOND, 2.0, 0.0).unwrap().delays();
        let first: Vec<u64> = delays
            .by_ref()
            .take(5)
            .map(|delay| delay.as_secs())
            .collect();
        assert_eq!(first, [1, 2, 4, 5, 5]);
        delays.reset();
        assert_eq!(delays.next_delay(), SECOND);
    }

    #[test]
    fn jitter_only_shortens() {
        let backoff = Backoff::new(SECOND, SECOND, 1.0, 0.5).unwrap();
        let delays: Vec<Duration> = backoff.delays().take(200).collect();
        assert!(
            delays
                .iter()
                .all(|delay| (SECOND / 2..=SECOND).contains(delay))
        );
        assert!(delays.iter().any(|delay| *delay != delays[0]));
    }

    #[test]
    fn refuses_nonsense() {
        assert!(matches!(
            Backoff::new(Duration::ZERO, SECOND, 2.0, 0.0),
            Err(Error::Range(..))
        ));
        assert!(matches!(
            Backoff::new(2 * SECOND, SECOND, 2.0, 0.0),
            Err(Error::Range(..))
        ));
        assert!(matches!(
            Backoff::new(SECOND, SECOND, 0.5, 0.0),
            Err(Error::Factor(_))
        ));
        assert!(matches!(
            Backoff::new(SECOND, SECOND, f64::NAN, 0.0),
            Err(Error::Factor(_))
        ));
        assert!(matches!(
            Backoff::new(SECOND, SECOND, 2.0, 1.5),
            Err(Error::Jitter(_))
        ));
    }
}
