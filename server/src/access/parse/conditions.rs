//! The conditions of an entry.

use ci_tunnel::config::document::{Invalid, Place};

use super::File;
use crate::access::condition::{Condition, Conditions};
use crate::access::glob::Glob;
use crate::access::lint::{Finding, Lint, patterns};
use crate::identity::RefType;

/// Reads a condition; false when `key` is none.
pub(super) fn condition(
    file: &mut File,
    conditions: &mut Conditions,
    key: &str,
    place: &Place<'_>,
) -> bool {
    match key {
        // GitLab takes an empty list, and no value, for no condition.
        "environments" => conditions.environments = globs(file, Condition::Environments, place),
        "protected_branches_only" if place.is_null() => {}
        "protected_branches_only" => conditions.protected_branches_only = boolean(file, place),
        "protected_environments_only" => {
            conditions.protected_environments_only = boolean(file, place);
        }
        "refs" => conditions.refs = some_globs(file, Condition::Refs, place),
        "ref_type" => conditions.ref_type = file.keep(ref_type(place)),
        "pipeline_sources" => {
            conditions.pipeline_sources = some_globs(file, Condition::PipelineSources, place);
        }
        "users" => conditions.users = some_globs(file, Condition::Users, place),
        _ => return false,
    }
    true
}

fn boolean(file: &mut File, place: &Place<'_>) -> bool {
    file.keep(place.boolean()).unwrap_or_default()
}

/// An empty list could be read as "all" or as "none": the file must say which.
fn some_globs(file: &mut File, condition: Condition, place: &Place<'_>) -> Vec<Glob> {
    let errors = file.errors.len();
    let globs = globs(file, condition, place);
    if globs.is_empty() && file.errors.len() == errors {
        file.errors
            .push(place.invalid("lists nothing: leave the key out to allow all"));
    }
    globs
}

fn globs(file: &mut File, condition: Condition, place: &Place<'_>) -> Vec<Glob> {
    let items = file.keep(place.items()).unwrap_or_default();
    let mut globs = Vec::with_capacity(items.len());
    let mut odd = Vec::new();
    for item in &items {
        let Some(glob) = file.keep(glob(condition, item)) else {
            continue;
        };
        odd.extend(patterns::pattern(condition, &glob, item));
        odd.extend(redundant(file, &globs, &glob, item));
        globs.push(glob);
    }
    file.findings.append(&mut odd);
    globs
}

fn glob(condition: Condition, item: &Place<'_>) -> Result<Glob, Invalid> {
    let text = item.text()?;
    if condition == Condition::Refs && text.starts_with("refs/") {
        return Err(
            item.invalid("must be the short name of a branch or tag: main, not refs/heads/main")
        );
    }
    Glob::parse(text).map_err(|error| item.invalid(error))
}

/// Lists are short; of a long one the first patterns are compared.
const COMPARED: usize = 50;

fn redundant(file: &mut File, before: &[Glob], glob: &Glob, item: &Place<'_>) -> Option<Finding> {
    let effort = &mut file.effort;
    let finding = |message| Some(Finding::at(item, Lint::RedundantPattern, message));
    for other in before.iter().take(COMPARED) {
        let (text, earlier) = (glob.as_str(), other.as_str());
        if other.covers(glob, effort) {
            return finding(format!(
                "{text:?} matches nothing that {earlier:?} before it does not"
            ));
        }
        if glob.covers(other, effort) {
            return finding(format!(
                "{text:?} matches all that {earlier:?} before it does, which can go"
            ));
        }
    }
    None
}

fn ref_type(place: &Place<'_>) -> Result<RefType, Invalid> {
    match place.text()? {
        "branch" => Ok(RefType::Branch),
        "tag" => Ok(RefType::Tag),
        _ => Err(place.invalid("must be branch or tag")),
    }
}
