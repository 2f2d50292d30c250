//! Benchmarks: the tunnel beside a direct connection to the same origin and beside its peers, in the same run.

#![allow(missing_docs)]

pub mod affinity;
pub mod client;
pub mod environment;
pub mod origin;
pub mod payload;
pub mod peers;
pub mod plan;
pub mod report;
pub mod targets;
pub mod tunnel;
pub mod usage;
pub mod workload;

// The workloads.
pub mod bulk;
pub mod fresh;
pub mod isolation;
pub mod small;
pub mod stalled;
