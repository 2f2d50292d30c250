//! The harness: stand-ins for the neighbours of server and agent, clients polite and rude, and child processes.
//!
//! Nothing here sleeps to synchronize and nothing binds a fixed port: what a test waits for is an event with a deadline.

#![allow(missing_docs, clippy::unwrap_used)]

pub mod apiserver;
pub mod client;
pub mod cluster;
pub mod deadline;
pub mod githost;
pub mod issuer;
pub mod kubectl;
#[cfg(target_os = "linux")]
pub mod link;
pub mod pki;
pub mod process;
pub mod proxy;
pub mod relay;
pub mod tunnel;
