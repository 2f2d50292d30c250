//! Benchmarks: the tunnel beside a direct connection to the same origin and beside its peers, in the same run.

#![allow(missing_docs)]

pub mod affinity;
pub mod client;
pub mod download;
pub mod environment;
pub mod origin;
pub mod payload;
pub mod peers;
pub mod plan;
pub mod probe;
pub mod report;
pub mod targets;
pub mod tunnel;
pub mod usage;
pub mod workload;

// The workloads.
pub mod bulk;
pub mod churn;
pub mod faults;
pub mod fresh;
pub mod idle;
pub mod interactive;
pub mod isolation;
pub mod links;
pub mod small;
pub mod stalled;
