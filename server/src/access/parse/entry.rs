//! One entry of `projects`, `groups` or `instance`.

use ci_tunnel::config::document::{Invalid, Place};

use super::conditions::condition;
use super::{File, access_as};
use crate::access::condition::Conditions;
use crate::access::entry::{Entry, RuleRef, Tier};
use crate::access::impersonate::Source;
use crate::identity::{AgentName, ProjectPath};

const KEYS: &[&str] = &[
    "id",
    "provider",
    "access_as",
    "default_namespace",
    "environments",
    "refs",
    "ref_type",
    "protected_branches_only",
    "protected_environments_only",
    "pipeline_sources",
    "users",
];

/// None when there are errors, which are then among the file's.
pub(super) fn entry(file: &mut File, tier: Tier, index: usize, place: &Place<'_>) -> Option<Entry> {
    let errors_before = file.errors.len();
    let named = tier != Tier::Instance;
    let keys = file.entries_of(place);
    let without_id = !keys.iter().any(|(key, _)| *key == "id");
    let is_mapping = file.errors.len() == errors_before;
    let (mut id, mut provider) = (None, None);
    let mut source = Source::Agent;
    let mut default_namespace = None;
    let mut conditions = Conditions::default();
    for (key, value) in keys {
        match key {
            "id" if named => id = file.keep(path(&value)),
            "provider" => provider = file.keep(provider_name(&value)),
            "access_as" => source = file.keep(access_as(&value)).unwrap_or_default(),
            "default_namespace" if value.is_null() => {}
            "default_namespace" => default_namespace = file.keep(namespace(&value)),
            "annotations" | "resource_management" => {}
            _ if condition(file, &mut conditions, key, &value) => {}
            _ => {
                let known = if named { KEYS } else { &KEYS[1..] };
                file.errors.push(value.unknown_key(known));
            }
        }
    }
    if named && without_id && is_mapping {
        file.errors
            .push(place.invalid("has no id: the full path of a project or group"));
    }
    let position = (place.line(), place.column());
    (file.errors.len() == errors_before).then(|| Entry {
        rule: RuleRef::new(tier, id, provider, index, position),
        source,
        conditions,
        default_namespace: default_namespace.filter(|name| !name.is_empty()),
    })
}

fn path(place: &Place<'_>) -> Result<ProjectPath, Invalid> {
    place.text()?.parse().map_err(|error| place.invalid(error))
}

/// No value could be read as "the repository's" or as "any": the file must say which.
fn provider_name(place: &Place<'_>) -> Result<String, Invalid> {
    let text = place.text()?;
    // The form that the server's own file asks of a provider's name.
    match text.parse::<AgentName>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(place.invalid(
            "is not the name of a provider: lower-case letters, digits and inner hyphens, as the server's file writes it",
        )),
    }
}

pub(in crate::access) fn namespace(place: &Place<'_>) -> Result<String, Invalid> {
    let text = place.text()?;
    let character = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.len() > 63
        || !text.bytes().all(character)
        || text.starts_with('-')
        || text.ends_with('-')
    {
        return Err(place.invalid(
            "is not a namespace: lower-case letters, digits and inner hyphens, 63 at most",
        ));
    }
    Ok(text.to_owned())
}
