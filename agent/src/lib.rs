//! The ci-tunnel agent: carries requests from the server to one Kubernetes API server.
//!
//! Each names only those below it: `cli` → `app` → `config` → `connect` → `session` → `stream` →
//! `identity`, `health`, `upstream`, `metrics`.
#![allow(missing_docs)]

pub mod app;
pub mod cli;
pub mod config;
pub mod connect;
pub mod health;
pub mod identity;
pub mod metrics;
pub mod session;
pub mod stream;
#[cfg(test)]
mod testing;
pub mod upstream;
