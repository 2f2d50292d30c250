//! A real cluster through a real server and a real agent, driven by the clients that jobs use.
//!
//! Most tests share one cluster and one tunnel, and keep apart by namespace; those about rights share a second one, where
//! nobody may do anything that no test allowed.

// A test may tell its story in one piece.
#![allow(missing_docs, clippy::unwrap_used, clippy::too_many_lines)]

mod bulk;
mod ci;
mod deploy;
mod faults;
mod gitlab;
mod helm;
mod identity;
mod installed;
mod proxy;
mod python;
mod ring;
mod upgrades;
mod verbs;
mod watch;
