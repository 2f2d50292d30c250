//! One JSON line a request, written when it ends, refusals included; and lines of agents, and of the log itself. Never
//! a secret.
//!
//! The data path hands finished lines to a bounded queue; one thread seals them into a hash chain and writes them. An
//! output that takes no lines loses them only after the queue is full, and says how many; or requests are refused where
//! the configuration says so.

mod acts;
mod chain;
mod config;
pub mod event;
pub mod files;
mod head;
mod known;
pub mod line;
mod output;
pub mod query;
mod queue;
mod raw;
mod record;
mod rotate;
mod sink;
mod tail;
pub mod verify;
mod writing;

pub use acts::Act;
pub use chain::{Hash, Head, KeyError, Mac};
pub use config::{Config, Invalid, OnFailure, Rotate, Sync};
pub use head::noted;
pub use known::{Decision, Known};
pub use line::{Ending, Line};
pub use output::Output;
pub use record::Record;
pub use sink::{Audit, Error, Writer, check};
