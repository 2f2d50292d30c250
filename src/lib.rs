//! What the ci-tunnel server and agent share.
//!
//! Layers, each naming only those to its right:
//! `transport` → `protocol`, `config`; `runtime` → `config`; `kube`, `protocol` and `config` name no one.

pub mod config;
pub mod kube;
pub mod protocol;
pub mod runtime;
pub mod transport;
