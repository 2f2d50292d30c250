//! What the tables of `tests/data/access` cannot say: values besides the decision, and messages.

use super::{Error, LogLevel, MAX_FILE, Outcome, Permit, RuleRef, Rules, decide, explain};
use crate::identity::{Agent, AgentId, JobIdentity};

fn agent() -> Agent {
    Agent {
        id: AgentId(7),
        project: "acme/infra".parse().unwrap(),
        name: "prod".parse().unwrap(),
    }
}

fn job(path: &str) -> JobIdentity {
    let identity =
        serde_json::json!({"provider": "local", "project": {"path": path}, "job_id": "1"});
    serde_json::from_value(identity).unwrap()
}

fn rules(text: &str) -> Rules {
    Rules::parse(text, "config.yaml").unwrap()
}

fn permit(text: &str) -> Permit {
    decide(&job("acme/app"), &agent(), &rules(text)).unwrap()
}

#[test]
fn permits_are_equal_when_they_allow_the_same() {
    let entry = "ci_access: {projects: [{id: acme/app, access_as: {ci_job: {}}}]}";
    let moved =
        "# moved\nci_access: {groups: [{id: acme, default_namespace: x, access_as: {ci_job: {}}}]}";
    assert_eq!(permit(entry), permit(moved));
    assert_ne!(
        permit(entry),
        permit("ci_access: {projects: [{id: acme/app}]}")
    );
    let other = "ci_access: {projects: [{id: acme/app, access_as: {impersonate: {username: 'gitlab:ci_job:1'}}}]}";
    assert_ne!(permit(entry), permit(other));
}

#[test]
fn a_rule_tells_where_it_stands() {
    let permit = permit("ci_access:\n  groups:\n  - id: other\n  - access_as: {}\n    id: Acme\n");
    let rule: &RuleRef = permit.rule();
    assert_eq!((rule.index(), rule.line()), (1, Some(4)));
    assert_eq!(rule.id().map(ToString::to_string).as_deref(), Some("Acme"));
    assert_eq!(rule.to_string(), "groups[1] (line 4, \"Acme\")");
    let implicit = decide(&job("acme/infra"), &agent(), &Rules::default()).unwrap();
    assert_eq!((implicit.rule().id(), implicit.rule().line()), (None, None));
}

#[test]
fn an_explanation_lists_every_entry_that_names_the_project() {
    let rules = rules(
        "ci_access:\n  projects:\n  - {id: acme/app, refs: [main]}\n  - {id: other/app}\n  - {id: acme/app}\n  \
         - {id: acme/app, refs: [x]}\n  groups:\n  - {id: acme}\n  instance: {}\n",
    );
    let explanation = explain(&job("acme/app"), &agent(), &rules);
    let parts: Vec<_> = explanation
        .considered
        .iter()
        .map(|entry| (entry.rule.to_string(), &entry.outcome))
        .collect();
    assert!(
        matches!(&parts[0], (rule, Outcome::Failed(failures)) if rule.contains("line 3") && failures.len() == 1)
    );
    assert_eq!(parts[1].1, &Outcome::Won);
    assert_eq!(parts[2].1, &Outcome::NotReached);
    assert_eq!(
        [parts[3].1, parts[4].1],
        [&Outcome::Outranked, &Outcome::Outranked]
    );
    assert_eq!(parts.len(), 5);
}

#[test]
fn the_log_level_is_kept() {
    assert_eq!(
        rules("observability: {logging: {level: warn, grpc_level: x}}").log_level(),
        Some(LogLevel::Warn)
    );
    assert_eq!(
        rules("observability: {google_profiler: {}}").log_level(),
        None
    );
    assert_eq!(LogLevel::Debug.as_str(), "debug");
}

#[test]
fn many_entries_work_and_are_warned_of() {
    let entries: String = (0..501)
        .map(|at| format!("  - id: acme/app{at}\n"))
        .collect();
    let rules = rules(&format!("ci_access:\n  projects:\n{entries}"));
    assert!(decide(&job("acme/app500"), &agent(), &rules).is_ok());
    assert_eq!(
        rules.warnings(),
        ["line 2: ci_access.projects: 501 entries; GitLab would use the first 500 alone"]
    );
}

#[test]
fn rules_for_nobody_let_nobody_in() {
    assert!(decide(&job("acme/infra"), &agent(), &Rules::nobody()).is_err());
    assert!(decide(&job("acme/infra"), &agent(), &Rules::default()).is_ok());
}

#[test]
fn a_file_over_the_limit_is_refused() {
    let text = "#".repeat(MAX_FILE);
    assert!(Rules::parse(&text, "config.yaml").is_ok());
    let error = Rules::parse(&(text + "#"), "config.yaml").unwrap_err();
    assert!(matches!(error, Error::TooLarge { size, .. } if size == MAX_FILE + 1));
}

#[test]
fn merged_entries_keep_their_own_line_and_values() {
    let rules = rules(
        "ci_access:\n  projects:\n  - &app\n    id: acme/app\n    default_namespace: a\n  - <<: *app\n    id: acme/web\n  \
         - *app\n",
    );
    let permit = decide(&job("acme/web"), &agent(), &rules).unwrap();
    assert_eq!(
        (permit.rule().line(), permit.default_namespace()),
        (Some(6), Some("a"))
    );
    let lines: Vec<_> = explain(&job("acme/app"), &agent(), &rules)
        .considered
        .iter()
        .map(|entry| entry.rule.line())
        .collect();
    assert_eq!(lines, [Some(4), Some(8)]);
}
