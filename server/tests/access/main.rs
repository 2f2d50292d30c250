//! The rules of access by tables: `tests/data/access/*.yaml`.
#![allow(missing_docs, clippy::unwrap_used)]

mod configuration;

use std::path::{Path, PathBuf};

use ci_tunnel::protocol::identity::{Impersonation, KubernetesIdentity};
use ci_tunnel_server::access::{AccessAs, Denied, Outcome, Permit, Rules, decide, explain};
use ci_tunnel_server::identity::{Agent, AgentId, AgentName, JobIdentity, ProjectPath};
use serde::Deserialize;
use serde_yaml::{Mapping, Value};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    agent: TableAgent,
    /// The provider of the repository that the file lies in.
    provider: Option<String>,
    config: String,
    /// What all jobs of the table have; a case's own keys replace these.
    #[serde(default)]
    job: Mapping,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableAgent {
    id: AgentId,
    project: ProjectPath,
    name: AgentName,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    provider: Option<String>,
    config: Option<String>,
    #[serde(default)]
    job: Mapping,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    permit: Option<ExpectPermit>,
    deny: Option<ExpectDenial>,
    /// What is said of the job, which is no identity at all.
    no_identity: Option<String>,
}

/// Only what is given is compared.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectPermit {
    #[serde(rename = "as")]
    access_as: Option<String>,
    username: Option<String>,
    #[serde(default, deserialize_with = "given")]
    uid: Option<Option<String>>,
    groups: Option<Vec<String>>,
    extra: Option<Vec<(String, String)>>,
    rule: Option<String>,
    namespace: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectDenial {
    contains: String,
    lacks: Option<String>,
}

fn given<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[test]
fn tables() {
    let (mut ran, mut failed) = (0, Vec::new());
    for file in files("access") {
        let table: Table = serde_yaml::from_str(&std::fs::read_to_string(&file).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for case in &table.cases {
            ran += 1;
            if let Err(message) = run(&table, case) {
                failed.push(format!("{}: {}: {message}", file.display(), case.name));
            }
        }
    }
    println!("{ran} cases ran");
    assert!(
        failed.is_empty(),
        "{} of {ran} cases failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
    assert!(ran >= 200, "only {ran} cases were found");
}

fn run(table: &Table, case: &Case) -> Result<(), String> {
    let config = case.config.as_ref().unwrap_or(&table.config);
    let rules = Rules::parse(config, "config.yaml").map_err(|error| error.to_string())?;
    let provider = case.provider.as_deref().or(table.provider.as_deref());
    let rules = rules.of_provider(provider);
    let TableAgent { id, project, name } = &table.agent;
    let agent = Agent {
        id: *id,
        project: project.clone(),
        name: name.clone(),
    };
    let mut job = table.job.clone();
    job.extend(case.job.clone());
    let job: Result<JobIdentity, _> = serde_yaml::from_value(Value::Mapping(job));
    let job = match (
        &case.expect.no_identity,
        job.map_err(|error| error.to_string()),
    ) {
        (None, job) => job?,
        (Some(expected), Err(error)) => {
            return ensure(
                error.contains(expected),
                format!("{error:?} lacks {expected:?}"),
            );
        }
        (Some(_), Ok(job)) => return Err(format!("is an identity: {job:?}")),
    };

    let decision = decide(&job, &agent, &rules);
    explanation_agrees(&job, &agent, &rules, &decision)?;
    match (&case.expect, decision) {
        (
            Expect {
                permit: Some(expected),
                deny: None,
                ..
            },
            Ok(permit),
        ) => permit_agrees(expected, &permit),
        (
            Expect {
                permit: None,
                deny: Some(expected),
                ..
            },
            Err(denied),
        ) => {
            let text = denied.to_string();
            ensure(
                text.contains(&expected.contains),
                format!("{text:?} lacks {:?}", expected.contains),
            )?;
            let lacks = expected
                .lacks
                .as_ref()
                .is_none_or(|lacks| !text.contains(lacks));
            ensure(lacks, format!("{text:?} tells too much"))
        }
        (_, decision) => Err(format!("decided otherwise: {decision:?}")),
    }
}

fn permit_agrees(expected: &ExpectPermit, permit: &Permit) -> Result<(), String> {
    let agent = Impersonation::default();
    let identity = match permit.identity() {
        KubernetesIdentity::Agent => &agent,
        KubernetesIdentity::Impersonate(identity) => identity,
    };
    let impersonated = permit.access_as() != AccessAs::Agent;
    ensure(
        impersonated != identity.username.is_empty(),
        "identity and access_as disagree".to_owned(),
    )?;
    same(
        "as",
        expected.access_as.as_deref(),
        permit.access_as().as_str(),
    )?;
    same("username", expected.username.as_ref(), &identity.username)?;
    same("uid", expected.uid.as_ref(), &identity.uid)?;
    same("groups", expected.groups.as_ref(), &identity.groups)?;
    same("extra", expected.extra.as_ref(), &identity.extra)?;
    same("rule", expected.rule.as_ref(), &permit.rule().to_string())?;
    same(
        "namespace",
        expected.namespace.as_deref(),
        permit.default_namespace().unwrap_or_default(),
    )
}

/// What `explain` tells is what `decide` does.
fn explanation_agrees(
    job: &JobIdentity,
    agent: &Agent,
    rules: &Rules,
    decision: &Result<Permit, Denied>,
) -> Result<(), String> {
    let explanation = explain(job, agent, rules);
    ensure(
        &explanation.decision == decision,
        "explain decides otherwise".to_owned(),
    )?;
    let won = explanation
        .considered
        .iter()
        .find(|entry| entry.outcome == Outcome::Won)
        .map(|entry| &entry.rule);
    let by = match decision {
        Ok(permit) => Some(permit.rule()),
        Err(Denied::Identity { rule, .. }) => Some(rule),
        Err(_) => None,
    };
    ensure(won == by, format!("explain has {won:?} win, decide {by:?}"))
}

fn same<T: PartialEq + std::fmt::Debug + ?Sized>(
    what: &str,
    expected: Option<&T>,
    found: &T,
) -> Result<(), String> {
    match expected {
        Some(expected) if expected != found => {
            Err(format!("{what}: expected {expected:?}, found {found:?}"))
        }
        _ => Ok(()),
    }
}

fn ensure(holds: bool, message: String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(message) }
}

fn files(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/data")
        .join(directory);
    let entries = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    files.sort();
    files
}
