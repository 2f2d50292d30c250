//! A real cluster through a real server and a real agent, driven by the clients that jobs use.
//!
//! All tests share one cluster and one tunnel, and keep apart by namespace.

#![allow(missing_docs, clippy::unwrap_used)]

mod bulk;
mod helm;
mod proxy;
mod python;
mod ring;
mod upgrades;
mod watch;
