//! The document of an agent's `config.yaml` → [`Rules`]. GitLab's keys mean what they mean there; a key that neither
//! GitLab nor this server knows is an error, for a misspelt condition would otherwise let everybody in.

mod access_as;

use ci_tunnel::config::document::{Invalid, Node, Place};

use super::condition::Conditions;
use super::entry::{Entry, RuleRef, Tier};
use super::glob::Glob;
use super::impersonate::Source;
use super::rules::{LogLevel, MANY_ENTRIES, Rules};
use crate::identity::{AgentName, ProjectPath, RefType};
pub(super) use access_as::access_as;

/// Top-level keys of GitLab's other features, now and in older versions.
const OTHER_FEATURES: &[&str] = &[
    "annotations",
    "cilium",
    "container_scanning",
    "flux",
    "gitops",
    "remote_development",
    "resource_management",
    "starboard",
    "user_access",
    "workspaces",
];

pub(super) fn rules(document: &Node) -> Result<Rules, Invalid> {
    let mut file = File {
        implicit: true,
        ..File::default()
    };
    for (key, place) in Place::root(document).entries()? {
        match key {
            "ci_access" => file.ci_access(&place)?,
            "observability" => file.log_level = log_level(&place)?,
            _ if OTHER_FEATURES.contains(&key) => {}
            _ => return Err(place.unknown_key(&["ci_access", "observability"])),
        }
    }
    Ok(Rules::new(
        file.entries,
        file.implicit,
        file.log_level,
        file.warnings,
    ))
}

#[derive(Default)]
struct File {
    entries: Vec<Entry>,
    implicit: bool,
    log_level: Option<LogLevel>,
    warnings: Vec<String>,
}

impl File {
    fn ci_access(&mut self, place: &Place<'_>) -> Result<(), Invalid> {
        for (key, place) in place.entries()? {
            match key {
                "projects" => self.list(Tier::Project, &place)?,
                "groups" => self.list(Tier::Group, &place)?,
                "instance" => self.instance(&place)?,
                "implicit" => self.implicit = place.boolean()?,
                "annotations" => {}
                _ => return Err(place.unknown_key(&["projects", "groups", "instance", "implicit"])),
            }
        }
        Ok(())
    }

    fn list(&mut self, tier: Tier, place: &Place<'_>) -> Result<(), Invalid> {
        let items = place.items()?;
        if items.len() > MANY_ENTRIES {
            self.warn(
                place,
                &format!(
                    "{} entries; GitLab would use the first {MANY_ENTRIES} alone",
                    items.len()
                ),
            );
        }
        for (index, item) in items.iter().enumerate() {
            self.entries.push(entry(tier, index, item)?);
        }
        Ok(())
    }

    /// One mapping; nothing at all gives nobody access, as in GitLab.
    fn instance(&mut self, place: &Place<'_>) -> Result<(), Invalid> {
        if place.is_null() {
            self.warn(
                place,
                "has no value and gives no access: write {} to let every project in",
            );
            return Ok(());
        }
        self.entries.push(entry(Tier::Instance, 0, place)?);
        Ok(())
    }

    fn warn(&mut self, place: &Place<'_>, message: &str) {
        self.warnings.push(place.invalid(message).to_string());
    }
}

const ENTRY: &[&str] = &[
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

fn entry(tier: Tier, index: usize, place: &Place<'_>) -> Result<Entry, Invalid> {
    let named = tier != Tier::Instance;
    let (mut id, mut provider) = (None, None);
    let mut source = Source::Agent;
    let mut default_namespace = None;
    let mut conditions = Conditions::default();
    for (key, value) in place.entries()? {
        match key {
            "id" if named => id = Some(path(&value)?),
            "provider" => provider = Some(provider_name(&value)?),
            "access_as" => source = access_as(&value)?,
            "default_namespace" if value.is_null() => {}
            "default_namespace" => default_namespace = Some(namespace(&value)?),
            "annotations" | "resource_management" => {}
            _ if condition(&mut conditions, key, &value)? => {}
            _ => return Err(value.unknown_key(if named { ENTRY } else { &ENTRY[1..] })),
        }
    }
    if named && id.is_none() {
        return Err(place.invalid("has no id: the full path of a project or group"));
    }
    let rule = RuleRef::new(tier, id, provider, index, place.line());
    Ok(Entry {
        rule,
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

pub(super) fn namespace(place: &Place<'_>) -> Result<String, Invalid> {
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

/// Reads a condition; false when `key` is none.
fn condition(conditions: &mut Conditions, key: &str, place: &Place<'_>) -> Result<bool, Invalid> {
    match key {
        // GitLab takes an empty list, and no value, for no condition.
        "environments" => conditions.environments = globs(place)?,
        "protected_branches_only" if place.is_null() => {}
        "protected_branches_only" => conditions.protected_branches_only = place.boolean()?,
        "protected_environments_only" => {
            conditions.protected_environments_only = place.boolean()?
        }
        "refs" => conditions.refs = refs(place)?,
        "ref_type" => conditions.ref_type = Some(ref_type(place)?),
        "pipeline_sources" => conditions.pipeline_sources = some_globs(place)?,
        "users" => conditions.users = some_globs(place)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn globs(place: &Place<'_>) -> Result<Vec<Glob>, Invalid> {
    let glob = |item: &Place<'_>| Glob::parse(item.text()?).map_err(|error| item.invalid(error));
    place.items()?.iter().map(glob).collect()
}

/// An empty list could be read as "all" or as "none": the file must say which.
fn some_globs(place: &Place<'_>) -> Result<Vec<Glob>, Invalid> {
    let globs = globs(place)?;
    if globs.is_empty() {
        return Err(place.invalid("lists nothing: leave the key out to allow all"));
    }
    Ok(globs)
}

fn refs(place: &Place<'_>) -> Result<Vec<Glob>, Invalid> {
    for item in place.items()? {
        if item.text()?.starts_with("refs/") {
            return Err(item
                .invalid("must be the short name of a branch or tag: main, not refs/heads/main"));
        }
    }
    some_globs(place)
}

fn ref_type(place: &Place<'_>) -> Result<RefType, Invalid> {
    match place.text()? {
        "branch" => Ok(RefType::Branch),
        "tag" => Ok(RefType::Tag),
        _ => Err(place.invalid("must be branch or tag")),
    }
}

/// Only the level is read; the rest of `observability` is for GitLab's own programs.
fn log_level(place: &Place<'_>) -> Result<Option<LogLevel>, Invalid> {
    let Some((_, logging)) = place
        .entries()?
        .into_iter()
        .find(|(key, _)| *key == "logging")
    else {
        return Ok(None);
    };
    let Some((_, level)) = logging
        .entries()?
        .into_iter()
        .find(|(key, _)| *key == "level")
    else {
        return Ok(None);
    };
    match level.text()? {
        "debug" => Ok(Some(LogLevel::Debug)),
        "info" => Ok(Some(LogLevel::Info)),
        "warn" => Ok(Some(LogLevel::Warn)),
        "error" => Ok(Some(LogLevel::Error)),
        _ => Err(level.invalid("must be debug, info, warn or error")),
    }
}
