//! The ci-tunnel server: agents connect to it by QUIC, jobs' Kubernetes clients by HTTPS.
#![allow(missing_docs)]

pub mod authn;
pub mod identity;
pub mod kubeconfig;
pub mod store;
