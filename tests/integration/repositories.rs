//! Agents' configuration in git: real git over real HTTPS and SSH.

mod failures;
mod remotes;
mod site;
mod webhooks;
