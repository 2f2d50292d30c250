//! The ci-tunnel server: agents connect to it by QUIC, jobs' Kubernetes clients by HTTPS.
#![allow(missing_docs)]

pub mod access;
pub mod cli;
pub mod configrepo;
pub mod identity;
