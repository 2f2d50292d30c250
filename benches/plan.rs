//! How long and what: the choices that all workloads keep to.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::ValueEnum;

use crate::peers::{Peer, Programs};

/// What one run of the program is to do.
#[derive(Debug, Clone)]
pub struct Plan {
    pub length: Length,
    /// Cases whose names do not contain this are left out.
    pub only: String,
    /// Measured beside the tunnel and the direct way.
    pub peers: Vec<Peer>,
    pub programs: Programs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Length {
    /// Three short rounds of the cases that say most: for a look
    Quick,
    /// Five longer rounds of all cases: for docs/benchmarks.md
    Full,
}

/// How long one measurement takes.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub warm_up: Duration,
    pub measure: Duration,
}

impl Plan {
    /// Each is one turn of all targets; figures are medians over them.
    pub fn rounds(&self) -> RangeInclusive<u32> {
        1..=self.pick(3, 5)
    }

    pub fn times(&self) -> Times {
        Times {
            warm_up: Duration::from_millis(self.pick(200, 500)),
            measure: Duration::from_millis(self.pick(800, 3000)),
        }
    }

    /// One of two, by the length of the run.
    pub fn pick<T>(&self, quick: T, full: T) -> T {
        match self.length {
            Length::Quick => quick,
            Length::Full => full,
        }
    }

    pub fn wants(&self, case: &str) -> bool {
        case.contains(&self.only)
    }
}
