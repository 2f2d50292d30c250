//! The commands.

pub mod agent;
pub mod explain;
pub mod job;
pub mod job_token;
pub mod kubeconfig;
mod output;
pub mod selector;
#[cfg(test)]
mod tests;
