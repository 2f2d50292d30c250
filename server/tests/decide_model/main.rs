//! `decide` against a plain model of the rules, written from their description and not from the code.
//!
//! Configurations and jobs are drawn from few words, so that they meet often. `PROPTEST_CASES` sets how many (2,000).
#![allow(missing_docs, clippy::unwrap_used)]

mod draw;

use ci_tunnel::protocol::identity::KubernetesIdentity;
use ci_tunnel_server::access::{Rules, Tier, decide};
use ci_tunnel_server::identity::{Agent, AgentId, JobIdentity};
use proptest::prelude::*;
use proptest::sample::select;

use draw::{ACCESS_AS, Configuration, Entry, PATHS, configuration, job};

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

impl Entry {
    fn conditions_hold(&self, job: &JobIdentity) -> bool {
        let environment = job
            .environment
            .as_ref()
            .and_then(|environment| environment.name.as_deref());
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
                let environment = job
                    .environment
                    .as_ref()?
                    .name
                    .as_ref()
                    .filter(|name| known(name))?;
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
