//! The commands.

pub mod explain;
pub mod job;
