//! Configurations and jobs by chance, and a configuration as the text of its file.

use ci_tunnel_server::identity::{JobIdentity, RefType};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

pub(crate) const PATHS: &[&str] = &[
    "a", "A", "a/b", "a/B/c", "a/b/c", "a/b/c/d", "a/bb", "a/bb/c", "b/c", "x/a/b/c",
];
const PATTERNS: &[&str] = &[
    "main", "m*", "*", "**", "r/*", "r/**", "*/x", "r/*/y", "*.y", "**x", "M*", "r/**/y*",
];
const NAMES: &[&str] = &[
    "main", "m", "xmain", "r/x", "r/x/y", "or/x", "r.y", "r/", "Main", "r/x/x/yy", "",
];
const SOURCES: &[&str] = &["push", "web"];

/// An entry of the file, and what it says.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) id: &'static str,
    pub(crate) environments: Vec<&'static str>,
    pub(crate) refs: Vec<&'static str>,
    pub(crate) ref_type: Option<RefType>,
    pub(crate) protected_branches_only: bool,
    pub(crate) protected_environments_only: bool,
    pub(crate) sources: Vec<&'static str>,
    pub(crate) users: Vec<&'static str>,
    pub(crate) access_as: usize,
}

/// Indexes of `Entry::access_as`.
pub(crate) const ACCESS_AS: &[&str] = &["agent", "ci_job", "ci_user", "impersonate"];

#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    pub(crate) projects: Vec<Entry>,
    pub(crate) groups: Vec<Entry>,
    pub(crate) instance: Option<Entry>,
    pub(crate) implicit: bool,
}

fn entry() -> impl Strategy<Value = Entry> {
    let types = [RefType::Branch, RefType::Tag];
    let conditions = (
        vec(select(PATTERNS), 0..3),
        vec(select(PATTERNS), 0..2),
        option::weighted(0.2, select(types.to_vec())),
        proptest::bool::weighted(0.3),
        proptest::bool::weighted(0.1),
        vec(select(SOURCES), 0..2),
        vec(select(PATTERNS), 0..2),
    );
    (select(PATHS), conditions, 0..ACCESS_AS.len()).prop_map(|(id, conditions, access_as)| {
        let (
            environments,
            refs,
            ref_type,
            protected_branches_only,
            protected_environments_only,
            sources,
            users,
        ) = conditions;
        Entry {
            id,
            environments,
            refs,
            ref_type,
            protected_branches_only,
            protected_environments_only,
            sources,
            users,
            access_as,
        }
    })
}

pub(crate) fn configuration() -> impl Strategy<Value = Configuration> {
    (
        vec(entry(), 0..6),
        vec(entry(), 0..6),
        option::of(entry()),
        any::<bool>(),
    )
        .prop_map(|(projects, groups, instance, implicit)| Configuration {
            projects,
            groups,
            instance,
            implicit,
        })
}

pub(crate) fn job() -> impl Strategy<Value = JobIdentity> {
    let environment = (select(NAMES), option::of(any::<bool>()))
        .prop_map(|(name, protected)| json!({"name": name, "protected": protected}));
    let parts = (
        select(PATHS),
        option::of(environment),
        option::of(select(NAMES)),
        option::of(select(&["branch", "tag"][..])),
        option::of(any::<bool>()),
        option::of(select(SOURCES)),
        option::of(select(NAMES)),
        option::weighted(0.8, Just("17")),
    );
    parts.prop_map(
        |(path, environment, git_ref, ref_type, ref_protected, source, login, job_id)| {
            let identity = json!({
                "provider": "local",
                "project": {"path": path},
                "environment": environment,
                "ref": git_ref,
                "ref_type": ref_type,
                "ref_protected": ref_protected,
                "pipeline_source": source,
                "user": login.map(|login| json!({"login": login})),
                "job_id": job_id,
            });
            serde_json::from_value(identity).unwrap()
        },
    )
}

impl Configuration {
    pub(crate) fn text(&self) -> String {
        let list = |entries: &[Entry]| {
            entries
                .iter()
                .map(|entry| entry.value(true))
                .collect::<Vec<_>>()
        };
        let mut access = json!({
            "projects": list(&self.projects),
            "groups": list(&self.groups),
            "implicit": self.implicit,
        });
        if let Some(entry) = &self.instance {
            access["instance"] = entry.value(false);
        }
        serde_yaml::to_string(&json!({"ci_access": access})).unwrap()
    }
}

impl Entry {
    fn value(&self, named: bool) -> Value {
        let access_as = match ACCESS_AS[self.access_as] {
            "impersonate" => json!({"impersonate": {"username": "{environment}-{ref}"}}),
            other => json!({other: {}}),
        };
        let mut entry = json!({
            "environments": self.environments,
            "protected_branches_only": self.protected_branches_only,
            "protected_environments_only": self.protected_environments_only,
            "access_as": access_as,
        });
        if named {
            entry["id"] = json!(self.id);
        }
        for (key, list) in [
            ("refs", &self.refs),
            ("pipeline_sources", &self.sources),
            ("users", &self.users),
        ] {
            if !list.is_empty() {
                entry[key] = json!(list);
            }
        }
        if let Some(ref_type) = self.ref_type {
            entry["ref_type"] = json!(ref_type);
        }
        entry
    }
}
