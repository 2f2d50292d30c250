//! Tests of the whole program: server and agent between a client and a stand-in API server.

// A test may tell its story in one piece.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::too_many_lines
)]

mod audit;
mod cuts;
mod faults;
mod forward;
mod gitlab;
mod hostile;
mod hostile_cases;
mod isolation;
mod judged;
mod limits;
mod oidc;
mod refusals;
mod repositories;
mod rig;
mod sessions;
mod transport;
