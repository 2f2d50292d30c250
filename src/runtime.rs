//! What a long-running process needs besides its work: signals, draining, logs, readiness, the operator's port.

pub mod backoff;
pub mod causes;
pub mod drain;
pub mod ops;
pub mod ready;
pub mod signal;
pub mod sparing;
pub mod tasks;
pub mod telemetry;
pub mod threads;
