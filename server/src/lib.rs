//! The ci-tunnel server: agents connect to it by QUIC, jobs' Kubernetes clients by HTTPS.
#![allow(missing_docs)]

pub mod access;
pub mod agents;
pub mod app;
pub mod audit;
pub mod authn;
pub mod cli;
pub mod config;
pub mod configrepo;
pub mod identity;
pub mod kubeconfig;
pub mod listener;
pub mod metrics;
pub mod proxy;
pub mod routing;
pub mod status;
pub mod store;
