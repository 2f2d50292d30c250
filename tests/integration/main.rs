//! Tests of the whole program in one process: server and agent between a client and a stand-in API server.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod hostile;
mod hostile_cases;
