//! What is known against a session of an agent: requests go to one with less of that, as long as there is one.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::metrics::{Metrics, TroubleLabels};

/// What can be wrong with a session whose connection stands. The later the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Its agent says that the API server does not answer.
    ApiServer,
    /// Requests get no answer, though pings do.
    Stuck,
    /// Its agent leaves pings unanswered.
    Silent,
}

/// A session's troubles, each with why.
#[derive(Debug)]
pub struct Standing {
    /// A bit for each trouble, the worst the highest.
    troubles: AtomicU8,
    why: Mutex<[Option<String>; 3]>,
    sessions: Family<TroubleLabels, Gauge>,
    counted: Family<TroubleLabels, Counter>,
}

impl Trouble {
    const ALL: [Self; 3] = [Self::ApiServer, Self::Stuck, Self::Silent];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::ApiServer => "api_server",
            Self::Stuck => "stuck",
            Self::Silent => "silent",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }

    fn labels(self) -> TroubleLabels {
        TroubleLabels {
            trouble: self.name(),
        }
    }
}

impl Standing {
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            troubles: AtomicU8::new(0),
            why: Mutex::default(),
            sessions: metrics.agent_sessions_in_trouble.clone(),
            counted: metrics.agent_troubles.clone(),
        }
    }

    /// The lower the better; 0 is without blame.
    pub fn rank(&self) -> u8 {
        self.troubles.load(Ordering::Relaxed)
    }

    /// Takes note of a trouble and why, or of its end. True when that is news.
    pub fn set(&self, trouble: Trouble, why: Option<String>) -> bool {
        let (is, bit) = (why.is_some(), trouble.bit());
        // Every message of an agent ends a trouble that mostly is not there.
        if !is && self.rank() & bit == 0 {
            return false;
        }
        self.whys()[trouble as usize] = why;
        let before = if is {
            self.troubles.fetch_or(bit, Ordering::Relaxed)
        } else {
            self.troubles.fetch_and(!bit, Ordering::Relaxed)
        };
        if (before & bit != 0) == is {
            return false;
        }
        let gauge = self.sessions.get_or_create_owned(&trouble.labels());
        if is {
            gauge.inc();
            self.counted.get_or_create(&trouble.labels()).inc();
        } else {
            gauge.dec();
        }
        true
    }

    /// Why the session has this trouble, if it has.
    pub fn why(&self, trouble: Trouble) -> Option<String> {
        self.whys()[trouble as usize].clone()
    }

    /// All that is known against it, for people.
    pub fn words(&self) -> Option<String> {
        let whys = self.whys();
        let known: Vec<_> = whys.iter().flatten().map(String::as_str).collect();
        (!known.is_empty()).then(|| known.join("; "))
    }

    fn whys(&self) -> MutexGuard<'_, [Option<String>; 3]> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        for trouble in Trouble::ALL {
            self.set(trouble, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worse_the_trouble_the_higher_the_rank() {
        let standing = Standing::new(&Metrics::unread());
        assert_eq!((standing.rank(), standing.words()), (0, None));
        let mut ranks = vec![standing.rank()];
        for trouble in Trouble::ALL {
            assert!(standing.set(trouble, Some(trouble.name().to_owned())));
            assert!(!standing.set(trouble, Some("as before".to_owned())));
            ranks.push(standing.rank());
            assert!(standing.set(trouble, None));
            assert!(!standing.set(trouble, None));
        }
        assert!(
            ranks.is_sorted_by(|better, worse| better < worse),
            "{ranks:?}"
        );
        assert_eq!(standing.rank(), 0);
    }

    #[test]
    fn what_is_wrong_is_told_and_counted() {
        let metrics = Metrics::unread();
        let standing = Standing::new(&metrics);
        standing.set(Trouble::Stuck, Some("no answer".to_owned()));
        standing.set(Trouble::ApiServer, Some("refused".to_owned()));
        assert_eq!(standing.words().as_deref(), Some("refused; no answer"));
        assert_eq!(standing.why(Trouble::Stuck).as_deref(), Some("no answer"));
        let stuck = || {
            let labels = Trouble::Stuck.labels();
            metrics
                .agent_sessions_in_trouble
                .get_or_create_owned(&labels)
                .get()
        };
        assert_eq!(stuck(), 1);
        drop(standing);
        assert_eq!(stuck(), 0);
    }
}
