//! One JSON line a request, written when it ends, refusals included. Never a secret.
//!
//! The data path hands finished lines to a bounded queue; one thread writes them. A disk that takes no lines loses
//! them only after the queue is full, counts each, and refuses new requests where the configuration says so.

pub mod files;
pub mod line;
mod output;
pub mod query;
mod raw;
mod record;
mod sink;

pub use line::{Ending, Line};
pub use output::Output;
pub use record::Record;
pub use sink::{Audit, Config, Error, OnFailure, Writer, check};
