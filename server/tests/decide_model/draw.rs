//! Configurations and jobs by chance, and a configuration as the text of its file. Few words, so that they meet often.

use ci_tunnel_server::identity::{JobIdentity, RefType};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};

pub(crate) const PATHS: &[&str] = &[
    "a", "A", "a/b", "a/B/c", "a/b/c", "a/b/c/d", "a/bb", "a/bb/c", "b/c", "x/a/b/c", "5", "5/b",
    "github/b",
];
const PATTERNS: &[&str] = &[
    "main", "m*", "*", "**", "r/*", "r/**", "*/x", "r/*/y", "*.y", "**x", "M*", "r/**/y*",
];
const NAMES: &[&str] = &[
    "main",
    "m",
    "xmain",
    "r/x",
    "r/x/y",
    "or/x",
    "r.y",
    "r/",
    "Main",
    "r/x/x/yy",
    "",
    "system:x",
    "github:project:5",
    "gitlab:x",
    "a:b",
];
const SOURCES: &[&str] = &["push", "web"];
const PROVIDERS: &[&str] = &["local", "gitlab", "github", "jenkins"];
const ROLES: &[&str] = &["guest", "developer", "owner", "captain"];

/// An entry of the file, and what it says.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) id: &'static str,
    pub(crate) provider: Option<&'static str>,
    pub(crate) environments: Vec<&'static str>,
    pub(crate) refs: Vec<&'static str>,
    pub(crate) ref_type: Option<RefType>,
    pub(crate) protected_branches_only: bool,
    pub(crate) protected_environments_only: bool,
    pub(crate) sources: Vec<&'static str>,
    pub(crate) users: Vec<&'static str>,
    pub(crate) access_as: AccessAs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccessAs {
    Agent,
    CiJob,
    CiUser,
    /// `{environment}-{ref}`, in the group `{root_group_path}:{project_name}`.
    Values,
    /// `team:{project_path}`.
    Written,
}

#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    /// Of the repository.
    pub(crate) provider: Option<&'static str>,
    pub(crate) project: &'static str,
    pub(crate) projects: Vec<Entry>,
    pub(crate) groups: Vec<Entry>,
    pub(crate) instance: Option<Entry>,
    pub(crate) implicit: bool,
}

fn one<T: Copy>(rng: &mut StdRng, of: &[T]) -> T {
    *of.choose(rng).unwrap()
}

fn maybe<T>(rng: &mut StdRng, chance: f64, draw: impl FnOnce(&mut StdRng) -> T) -> Option<T> {
    rng.random_bool(chance).then(|| draw(rng))
}

fn some<T>(rng: &mut StdRng, most: usize, mut draw: impl FnMut(&mut StdRng) -> T) -> Vec<T> {
    let count = rng.random_range(0..=most);
    (0..count).map(|_| draw(rng)).collect()
}

/// Most entries are near the job; most conditions are not there.
fn entry(rng: &mut StdRng, near: &[&'static str]) -> Entry {
    let kinds = [
        AccessAs::Agent,
        AccessAs::CiJob,
        AccessAs::CiUser,
        AccessAs::Values,
        AccessAs::Written,
    ];
    let types = [RefType::Branch, RefType::Tag];
    let from = if rng.random_bool(0.7) && !near.is_empty() {
        near
    } else {
        PATHS
    };
    let few = |rng: &mut StdRng, of: &[&'static str]| {
        maybe(rng, 0.3, |rng| some(rng, 3, |rng| one(rng, of))).unwrap_or_default()
    };
    Entry {
        id: one(rng, from),
        provider: maybe(rng, 0.3, |rng| one(rng, PROVIDERS)),
        environments: few(rng, PATTERNS),
        refs: few(rng, PATTERNS),
        ref_type: maybe(rng, 0.15, |rng| one(rng, &types)),
        protected_branches_only: rng.random_bool(0.15),
        protected_environments_only: rng.random_bool(0.1),
        sources: few(rng, SOURCES),
        users: few(rng, PATTERNS),
        access_as: one(rng, &kinds),
    }
}

pub(crate) fn configuration(rng: &mut StdRng, job: &JobIdentity) -> Configuration {
    let paths = |wanted: &dyn Fn(&str) -> bool| -> Vec<_> {
        let paths = PATHS.iter().copied();
        paths.filter(|path| wanted(&path.to_lowercase())).collect()
    };
    let project = job.project.path.as_str().to_lowercase();
    let own = paths(&|path| path == project);
    let groups = paths(&|path| project.starts_with(&format!("{path}/")));
    let homes = if rng.random_bool(0.3) { &own } else { PATHS };
    Configuration {
        provider: maybe(rng, 0.8, |rng| one(rng, PROVIDERS)),
        project: one(rng, homes),
        projects: some(rng, 3, |rng| entry(rng, &own)),
        groups: some(rng, 3, |rng| entry(rng, &groups)),
        instance: maybe(rng, 0.3, |rng| entry(rng, &[])),
        implicit: rng.random_bool(0.5),
    }
}

pub(crate) fn job(rng: &mut StdRng) -> JobIdentity {
    let provider = one(rng, PROVIDERS);
    let path = one(rng, PATHS);
    let number = |rng: &mut StdRng| maybe(rng, 0.6, |rng| rng.random_range(1..6));
    let above = std::iter::successors(path.rsplit_once('/'), |(group, _)| group.rsplit_once('/'));
    let groups: Vec<_> = above
        .map(|(group, _)| json!({"path": group, "id": number(rng)}))
        .collect();
    let environment = maybe(rng, 0.7, |rng| {
        json!({
            "name": maybe(rng, 0.9, |rng| one(rng, NAMES)),
            "slug": maybe(rng, 0.5, |rng| one(rng, &["prod", "r-x", ""])),
            "tier": maybe(rng, 0.5, |rng| one(rng, &["production", "other"])),
            "protected": maybe(rng, 0.5, |rng| rng.random_bool(0.5)),
        })
    });
    let user = maybe(
        rng,
        0.7,
        |rng| json!({"login": one(rng, NAMES), "roles": some(rng, 2, |rng| one(rng, ROLES))}),
    );
    let identity = json!({
        "provider": provider,
        "identity_prefix": (provider != "local").then_some(provider),
        "project": {"path": path, "id": number(rng)},
        "groups": groups,
        "environment": environment,
        "ref": maybe(rng, 0.7, |rng| one(rng, NAMES)),
        "ref_type": maybe(rng, 0.7, |rng| one(rng, &["branch", "tag"])),
        "ref_protected": maybe(rng, 0.7, |rng| rng.random_bool(0.6)),
        "pipeline_source": maybe(rng, 0.7, |rng| one(rng, SOURCES)),
        "pipeline_id": maybe(rng, 0.5, |_| "900"),
        "user": user,
        "job_id": maybe(rng, 0.8, |_| "17"),
    });
    serde_json::from_value(identity).unwrap()
}

impl Configuration {
    /// JSON is YAML.
    pub(crate) fn text(&self) -> String {
        let list = |entries: &[Entry]| -> Vec<Value> {
            entries.iter().map(|entry| entry.value(true)).collect()
        };
        let mut access = json!({
            "projects": list(&self.projects),
            "groups": list(&self.groups),
            "implicit": self.implicit,
        });
        if let Some(entry) = &self.instance {
            access["instance"] = entry.value(false);
        }
        json!({"ci_access": access}).to_string()
    }
}

impl Entry {
    fn value(&self, named: bool) -> Value {
        let access_as = match self.access_as {
            AccessAs::Agent => json!({"agent": {}}),
            AccessAs::CiJob => json!({"ci_job": {}}),
            AccessAs::CiUser => json!({"ci_user": {}}),
            AccessAs::Values => json!({"impersonate": {
                "username": "{environment}-{ref}",
                "groups": ["{root_group_path}:{project_name}"],
            }}),
            AccessAs::Written => json!({"impersonate": {"username": "team:{project_path}"}}),
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
        if let Some(provider) = self.provider {
            entry["provider"] = json!(provider);
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
