//! Entries and patterns that earlier ones leave nothing to. Each is compared with each, so the work is bounded: what is
//! over the bound is not looked at.

use std::collections::HashMap;

use super::{Finding, Lint};
use crate::access::entry::{Entry, Tier};
use crate::access::glob::Effort;
use crate::identity::{LOCAL, ProjectPath};

/// Comparisons of conditions a file.
const COMPARISONS: usize = 100_000;
/// Steps of all comparisons of patterns a file: a fraction of a second.
const STEPS: usize = 1_000_000;

pub(super) fn all(entries: &[Entry]) -> Vec<Finding> {
    let mut effort = Effort::new(STEPS);
    let mut comparisons = 0;
    let mut findings = Vec::new();
    let mut seen: HashMap<(Tier, Option<String>), Vec<&Entry>> = HashMap::new();
    for entry in entries {
        let key = (entry.rule.tier(), entry.rule.id().map(ProjectPath::key));
        let earlier = seen.entry(key).or_default();
        comparisons += earlier.len();
        if comparisons <= COMPARISONS {
            findings.extend(shadow(entry, earlier, &mut effort));
        }
        earlier.push(entry);
    }
    findings
}

fn shadow(entry: &Entry, earlier: &[&Entry], effort: &mut Effort) -> Option<Finding> {
    let by = earlier.iter().find(|other| {
        concerns_all_of(other, entry) && other.conditions.cover(&entry.conditions, effort)
    })?;
    let same = by.source == entry.source
        && by.default_namespace == entry.default_namespace
        && by.conditions == entry.conditions
        && by.rule.provider() == entry.rule.provider();
    let finding = if same {
        let message = format!("says the same as {}: remove one", by.rule);
        Finding::on(entry, Lint::DuplicateEntry, message)
    } else {
        let message = format!(
            "never decides: {} stands before it and lets in every job that it would; put it first, or narrow the other",
            by.rule
        );
        Finding::on(entry, Lint::ShadowedEntry, message)
    };
    Some(finding)
}

/// Every job that `entry` is about, by its provider, `other` is about too.
fn concerns_all_of(other: &Entry, entry: &Entry) -> bool {
    let (other, provider) = (other.rule.provider(), entry.rule.provider());
    other == provider || (other.is_none() && provider == Some(LOCAL))
}
