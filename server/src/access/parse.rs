//! The document of an agent's `config.yaml` → entries. GitLab's keys mean what they mean there; a key that neither
//! GitLab nor this server knows is an error, for a misspelt condition would otherwise let everybody in.
//!
//! All errors are kept, so that a file can be mended at once.

mod access_as;
mod conditions;
mod entry;

use ci_tunnel::config::document::{Invalid, Node, Place};

use super::entry::{Entry, Tier};
use super::glob::Effort;
use super::lint::{Finding, Lint};
use super::rules::{LogLevel, MANY_ENTRIES};
pub(super) use access_as::access_as;
use entry::entry;
pub(super) use entry::namespace;

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

/// What a file says. With errors the entries are those that have none.
#[derive(Debug)]
pub(super) struct File {
    pub(super) entries: Vec<Entry>,
    pub(super) implicit: bool,
    pub(super) log_level: Option<LogLevel>,
    pub(super) errors: Vec<Invalid>,
    /// What is odd about a place of the document; what is odd about whole entries is not looked for here.
    pub(super) findings: Vec<Finding>,
    /// For comparing patterns.
    effort: Effort,
}

/// Steps of all comparisons of patterns within lists: milliseconds.
const EFFORT: usize = 200_000;

pub(super) fn file(document: &Node) -> File {
    let mut file = File {
        entries: Vec::new(),
        implicit: true,
        log_level: None,
        errors: Vec::new(),
        findings: Vec::new(),
        effort: Effort::new(EFFORT),
    };
    for (key, place) in file.entries_of(&Place::root(document)) {
        match key {
            "ci_access" => file.ci_access(&place),
            "observability" => file.log_level = file.keep(log_level(&place)).flatten(),
            _ if OTHER_FEATURES.contains(&key) => {}
            _ => file
                .errors
                .push(place.unknown_key(&["ci_access", "observability"])),
        }
    }
    file
}

impl File {
    /// The value, or one error more.
    fn keep<T>(&mut self, read: Result<T, Invalid>) -> Option<T> {
        read.map_err(|error| self.errors.push(error)).ok()
    }

    fn entries_of<'a>(&mut self, place: &Place<'a>) -> Vec<(&'a str, Place<'a>)> {
        self.keep(place.entries()).unwrap_or_default()
    }

    fn ci_access(&mut self, place: &Place<'_>) {
        for (key, place) in self.entries_of(place) {
            match key {
                "projects" => self.list(Tier::Project, &place),
                "groups" => self.list(Tier::Group, &place),
                "instance" => self.instance(&place),
                "implicit" => self.implicit = self.keep(place.boolean()).unwrap_or(true),
                "annotations" => {}
                _ => self
                    .errors
                    .push(place.unknown_key(&["projects", "groups", "instance", "implicit"])),
            }
        }
    }

    fn list(&mut self, tier: Tier, place: &Place<'_>) {
        let items = self.keep(place.items()).unwrap_or_default();
        if items.len() > MANY_ENTRIES {
            let message = format!(
                "{} entries; GitLab would use the first {MANY_ENTRIES} alone",
                items.len()
            );
            self.find(place, Lint::ManyEntries, &message);
        }
        for (index, item) in items.iter().enumerate() {
            let entry = entry(self, tier, index, item);
            self.entries.extend(entry);
        }
    }

    /// One mapping; nothing at all gives nobody access, as in GitLab.
    fn instance(&mut self, place: &Place<'_>) {
        if place.is_null() {
            let message = "has no value and gives no access: write {} to let every project in";
            return self.find(place, Lint::NoValue, message);
        }
        let entry = entry(self, Tier::Instance, 0, place);
        self.entries.extend(entry);
    }

    fn find(&mut self, place: &Place<'_>, lint: Lint, message: &str) {
        self.findings.push(Finding::at(place, lint, message));
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
