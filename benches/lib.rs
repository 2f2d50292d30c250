//! Benchmarks: the tunnel beside a direct connection to the same origin, in the same run.

#![allow(missing_docs)]

pub mod bulk;
pub mod client;
pub mod environment;
pub mod origin;
pub mod payload;
pub mod report;
pub mod small;
pub mod stalled;
pub mod tunnel;
pub mod usage;
