//! Who may use an agent, and as whom: the rules of `.gitlab/agents/<name>/config.yaml` and the decision by them.
//!
//! Pure: no clock, no network, no file. `docs/config-yaml.md` tells the rules' author the same.
//!
//! ```text
//! config.yaml ─ parse ─▶ Rules ─┐
//! credential ─▶ JobIdentity ────┼─ decide ─▶ Permit: rule, identity in the cluster
//! agent ────────────────────────┘         └▶ Denied: nearest rule, failed conditions
//! ```

mod condition;
mod decide;
mod entry;
pub mod glob;
mod granted;
mod impersonate;
pub mod lint;
mod parse;
mod permit;
mod rules;
pub mod template;

pub use condition::{Condition, Failure};
pub use decide::{Considered, Denied, Explanation, Outcome, decide, explain};
pub use entry::{RuleRef, Tier};
pub use granted::{Authorize, Grant, Granted, Listed};
pub use impersonate::is_identity_prefix;
pub use permit::{AccessAs, Permit};
pub use rules::{Error, LogLevel, MANY_ENTRIES, MAX_FILE, Rules};

#[cfg(test)]
mod tests;
