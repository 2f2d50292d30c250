//! Tests of the whole program: server and agent between a client and a stand-in API server.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod faults;
mod forward;
mod hostile;
mod hostile_cases;
mod refusals;
mod rig;
