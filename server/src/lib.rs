//! The ci-tunnel server: agents connect to it by QUIC, jobs' Kubernetes clients by HTTPS.
#![allow(missing_docs)]

pub mod identity;
pub mod store;
