//! `decide` against a plain model of the rules, written from their description and not from the code.
//!
//! Configurations and jobs are drawn from few words, so that they meet often. `PROPTEST_CASES` sets how many (2,000).
#![allow(missing_docs, clippy::unwrap_used)]

use ci_tunnel::protocol::identity::KubernetesIdentity;
use ci_tunnel_server::access::{Rules, Tier, decide};
use ci_tunnel_server::identity::{Agent, AgentId, JobIdentity, RefType};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

const PATHS: &[&str] = &[
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
struct Entry {
    id: &'static str,
    environments: Vec<&'static str>,
    refs: Vec<&'static str>,
    ref_type: Option<RefType>,
    protected_branches_only: bool,
    protected_environments_only: bool,
    sources: Vec<&'static str>,
    users: Vec<&'static str>,
    access_as: usize,
}

/// Indexes of `Entry::access_as`.
const ACCESS_AS: &[&str] = &["agent", "ci_job", "ci_user", "impersonate"];

#[derive(Debug, Clone)]
struct Configuration {
    projects: Vec<Entry>,
    groups: Vec<Entry>,
    instance: Option<Entry>,
    implicit: bool,
}

#[derive(Debug, PartialEq)]
enum Decision {
    Permit {
        tier: Tier,
        index: usize,
        access_as: usize,
        username: String,
    },
    Deny,
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

fn configuration() -> impl Strategy<Value = Configuration> {
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

fn job() -> impl Strategy<Value = JobIdentity> {
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
    fn text(&self) -> String {
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

    fn conditions_hold(&self, job: &JobIdentity) -> bool {
        let environment = job
            .environment
            .as_ref()
            .map(|environment| environment.name.as_str());
        let environment_protected = job
            .environment
            .as_ref()
            .and_then(|environment| environment.protected);
        let login = job.user.as_ref().map(|user| user.login.as_str());
        any_of(&self.environments, environment)
            && any_of(&self.refs, job.git_ref.as_deref())
            && any_of(&self.sources, job.pipeline_source.as_deref())
            && any_of(&self.users, login)
            && (self.ref_type.is_none() || self.ref_type == job.ref_type)
            && (!self.protected_branches_only || job.ref_protected == Some(true))
            && (!self.protected_environments_only || environment_protected == Some(true))
    }

    fn username(&self, job: &JobIdentity) -> Option<String> {
        let known = |text: &String| !text.is_empty();
        match ACCESS_AS[self.access_as] {
            "ci_job" => Some(format!("gitlab:ci_job:{}", job.job_id.as_ref()?)),
            "ci_user" => Some(&job.user.as_ref()?.login)
                .filter(|login| known(login))
                .map(|login| format!("gitlab:user:{login}")),
            "impersonate" => {
                let environment =
                    Some(&job.environment.as_ref()?.name).filter(|name| known(name))?;
                let git_ref = job.git_ref.as_ref().filter(|name| known(name))?;
                Some(format!("{environment}-{git_ref}"))
            }
            _ => Some(String::new()),
        }
    }
}

/// No pattern asks for nothing; an unknown or empty value satisfies none.
fn any_of(patterns: &[&str], value: Option<&str>) -> bool {
    let known = value.filter(|value| !value.is_empty());
    patterns.is_empty()
        || known.is_some_and(|value| patterns.iter().any(|pattern| glob(pattern, value)))
}

fn glob(pattern: &str, text: &str) -> bool {
    let ends = || (0..=text.len()).filter(|at| text.is_char_boundary(*at));
    if let Some(rest) = pattern.strip_prefix("**") {
        return ends().any(|at| glob(rest, &text[at..]));
    }
    if let Some(rest) = pattern.strip_prefix('*') {
        return ends()
            .take_while(|at| !text[..*at].contains('/'))
            .any(|at| glob(rest, &text[at..]));
    }
    match pattern.chars().next() {
        None => text.is_empty(),
        Some(first) => {
            text.starts_with(first) && glob(&pattern[first.len_utf8()..], &text[first.len_utf8()..])
        }
    }
}

fn model(job: &JobIdentity, config_project: &str, configuration: &Configuration) -> Decision {
    let project = job.project.path.as_str().to_lowercase();
    let named = |list: &[Entry], path: &str| -> Vec<(usize, Entry)> {
        let entries = list.iter().cloned().enumerate();
        entries
            .filter(|(_, entry)| entry.id.to_lowercase() == path)
            .collect()
    };
    let own = named(&configuration.projects, &project);
    if !own.is_empty() {
        return first(Tier::Project, &own, job);
    }
    if configuration.implicit && project == config_project.to_lowercase() {
        return Decision::Permit {
            tier: Tier::Implicit,
            index: 0,
            access_as: 0,
            username: String::new(),
        };
    }
    let segments: Vec<_> = project.split('/').collect();
    for length in (1..segments.len()).rev() {
        let group = named(&configuration.groups, &segments[..length].join("/"));
        if !group.is_empty() {
            return first(Tier::Group, &group, job);
        }
    }
    let instance: Vec<_> = configuration
        .instance
        .iter()
        .cloned()
        .map(|entry| (0, entry))
        .collect();
    first(Tier::Instance, &instance, job)
}

/// The first entry whose conditions all hold.
fn first(tier: Tier, entries: &[(usize, Entry)], job: &JobIdentity) -> Decision {
    let Some((index, entry)) = entries.iter().find(|(_, entry)| entry.conditions_hold(job)) else {
        return Decision::Deny;
    };
    match entry.username(job) {
        Some(username) => Decision::Permit {
            tier,
            index: *index,
            access_as: entry.access_as,
            username,
        },
        None => Decision::Deny,
    }
}

fn decided(job: &JobIdentity, agent: &Agent, rules: &Rules) -> Decision {
    let Ok(permit) = decide(job, agent, rules) else {
        return Decision::Deny;
    };
    let username = match permit.identity() {
        KubernetesIdentity::Agent => String::new(),
        KubernetesIdentity::Impersonate(identity) => identity.username.clone(),
    };
    let kind = permit.access_as().as_str();
    let access_as = ACCESS_AS.iter().position(|name| *name == kind).unwrap();
    Decision::Permit {
        tier: permit.rule().tier(),
        index: permit.rule().index(),
        access_as,
        username,
    }
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(2_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decide_is_the_model(configuration in configuration(), job in job(), config_project in select(PATHS)) {
        let agent = Agent { id: AgentId(7), project: config_project.parse().unwrap(), name: "prod".parse().unwrap() };
        let text = configuration.text();
        let rules = Rules::parse(&text, "config.yaml").unwrap();
        prop_assert_eq!(decided(&job, &agent, &rules), model(&job, config_project, &configuration), "{}", text);
    }

    #[test]
    fn any_text_is_rules_or_an_error(text in "[a-z_:\\-\\[\\]{}*&<>#!|'\" \n\t0-9.]{0,200}") {
        let _ = Rules::parse(&text, "config.yaml");
    }
}
