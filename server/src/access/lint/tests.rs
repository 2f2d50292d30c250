//! Each lint at its place, and what is as it should be left alone.

use super::{Finding, Lint, Severity, file};
use crate::access::{MAX_FILE, Rules};

fn found(text: &str) -> Vec<Finding> {
    file(text.as_bytes())
}

/// Names and places, without notes.
fn lints(text: &str) -> Vec<(&'static str, usize, usize)> {
    let findings = found(text).into_iter();
    findings
        .filter(|finding| finding.severity() > Severity::Note)
        .map(|finding| (finding.lint.name(), finding.line, finding.column))
        .collect()
}

/// An entry of `projects` on line 3.
fn project(keys: &str) -> String {
    format!("ci_access:\n  projects:\n  - {{id: acme/app, {keys}}}\n")
}

#[test]
fn every_error_is_found_at_its_place() {
    let text = "\
ci_acess: {}
ci_access:
  projects:
  - id: acme/app
    enviroments: [production]
    refs: main
  - environments: ['']
    access_as: {ci_jobs: {}}
  instance: {ref_type: both}
  implicit: maybe
";
    let expected = [
        ("unknown-key", 1, 1),
        ("unknown-key", 5, 5),
        ("wrong-type", 6, 5),
        ("invalid-value", 7, 5),
        ("invalid-value", 7, 20),
        ("unknown-key", 8, 17),
        ("invalid-value", 9, 14),
        ("wrong-type", 10, 3),
    ];
    assert_eq!(lints(text), expected);
    assert_eq!(
        found(text)[1].to_string(),
        "line 5: ci_access.projects[0].enviroments: unknown key: known here are id, provider, access_as, \
         default_namespace, environments, refs, ref_type, protected_branches_only, protected_environments_only, \
         pipeline_sources, users; did you mean environments?"
    );
    let refused = Rules::parse(text, "config.yaml").unwrap_err().to_string();
    assert!(
        refused.ends_with("did you mean ci_access? (and 7 more; `check --agent-config` tells all)"),
        "{refused}"
    );
}

#[test]
fn a_file_that_is_no_document_has_one_error() {
    assert_eq!(lints("ci_access:\n  projects: [\n"), [("syntax", 2, 13)]);
    assert_eq!(file(&[b'a', 0xff])[0].lint, Lint::NotText);
    assert_eq!(file(&vec![b'#'; MAX_FILE + 1])[0].lint, Lint::TooLarge);
    assert_eq!(lints(""), []);
}

#[test]
fn an_entry_that_an_earlier_one_covers_never_decides() {
    let text = "\
ci_access:
  projects:
  - {id: acme/app, refs: [main, 'release/**'], access_as: {ci_job: {}}}
  - {id: Acme/App, refs: ['release/*'], protected_branches_only: true, access_as: {ci_job: {}}}
  - {id: acme/app, refs: [main], environments: [x], provider: github, access_as: {ci_job: {}}}
  - {id: acme/app, refs: [topic], access_as: {ci_job: {}}}
  - {id: acme/app, refs: [topic], access_as: {ci_job: {}}}
  - {id: acme/app, access_as: {ci_job: {}}}
  - {id: acme/app, provider: local, users: [ann], access_as: {ci_job: {}}}
  - {id: acme/app, provider: github, access_as: {ci_job: {}}}
";
    assert_eq!(
        lints(text),
        [
            ("shadowed-entry", 4, 5),
            ("duplicate-entry", 7, 5),
            ("shadowed-entry", 9, 5)
        ]
    );
    let message = &found(text)[0].message;
    assert!(
        message.contains("projects[0] (line 3, \"acme/app\") stands before it"),
        "{message}"
    );
}

#[test]
fn patterns() {
    let lint = |keys: &str| {
        let found = lints(&project(keys));
        assert!(found.len() <= 1, "{keys}: {found:?}");
        found.first().map(|(name, _, column)| (*name, *column))
    };
    for (keys, expected) in [
        ("environments: ['review/.*']", "regular-expression"),
        ("environments: ['.*']", "regular-expression"),
        ("refs: ['release-\\d+']", "regular-expression"),
        ("refs: ['(main|topic)']", "regular-expression"),
        ("refs: ['v[0-9]*']", "regular-expression"),
        ("users: ['ann|(bob|eve)']", "regular-expression"),
        ("environments: ['*']", "lone-star"),
        ("refs: ['*']", "lone-star"),
        ("refs: ['a b']", "impossible-pattern"),
        ("refs: ['feature/']", "impossible-pattern"),
        ("refs: ['a..b']", "impossible-pattern"),
        ("refs: [main, '*/x', 'a/x']", "redundant-pattern"),
        (
            "environments: ['review/**', 'review/*']",
            "redundant-pattern",
        ),
        (
            "environments: ['review/*', 'review/**']",
            "redundant-pattern",
        ),
        ("pipeline_sources: [pusch]", "likely-typo"),
        ("pipeline_sources: [merge_request_events]", "likely-typo"),
    ] {
        assert_eq!(lint(keys).map(|(name, _)| name), Some(expected), "{keys}");
    }
    assert_eq!(lint("refs: [main, '*/x', 'a/x']").unwrap().1, 40);
    for keys in [
        "refs: [main, 'v1.*', 'w*.*', 'release/**', '*/x']",
        "environments: ['review/**', 'eu (1)', 'prod-*']",
        "pipeline_sources: [push, deploy-button, 'merge_*']",
        "users: ['*-bot', ann.b]",
    ] {
        assert_eq!(lint(keys), None, "{keys}");
    }
}

#[test]
fn entries() {
    for (entries, expected) in [
        ("groups: [{id: acme}]", Some("agent-for-many")),
        (
            "groups: [{id: acme, access_as: {agent: {}}}]",
            Some("agent-for-many"),
        ),
        ("instance: {}", Some("agent-for-many")),
        ("instance:", Some("no-value")),
        ("implicit: false", Some("no-access")),
        ("projects: [{id: acme/app.git}]", Some("impossible-path")),
        ("projects: [{id: app}]", Some("impossible-path")),
        (
            "projects: [{id: acme/a}, {id: Acme/A/b}]",
            Some("group-or-project"),
        ),
        (
            "projects: [{id: a/b}], groups: [{id: a/b, access_as: {ci_job: {}}}]",
            Some("group-or-project"),
        ),
        ("projects: [{id: a/b}, {id: a/b/c, provider: github}]", None),
        (
            "projects: [{id: a/b, access_as: {impersonate: {username: x, groups: ['system:masters']}}}]",
            Some("system-identity"),
        ),
        (
            "projects: [{id: a/b, ref_type: tag, pipeline_sources: [merge_request_event]}]",
            Some("contradiction"),
        ),
        (
            "projects: [{id: a/b, ref_type: tag, pipeline_sources: [merge_request_event, push]}]",
            None,
        ),
        ("groups: [{id: acme, access_as: {ci_user: {}}}]", None),
    ] {
        let text = format!("ci_access: {{{entries}}}");
        let names: Vec<_> = lints(&text).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, Vec::from_iter(expected), "{entries}");
    }
}

#[test]
fn notes_are_no_warnings() {
    let notes = |keys: &str| {
        let found = found(&project(keys)).into_iter();
        found
            .map(|finding| {
                assert_eq!(finding.severity(), Severity::Note);
                finding.lint
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(notes("default_namespace: app"), [Lint::NamespaceIsNoLimit]);
    assert_eq!(notes("default_namespace: app, access_as: {ci_job: {}}"), []);
    assert_eq!(notes("environments: ['prod*']"), [Lint::OpenEnvironment]);
    assert_eq!(
        notes("environments: ['prod*'], protected_branches_only: true"),
        []
    );
    let rules = Rules::parse(&project("default_namespace: app"), "config.yaml").unwrap();
    assert_eq!(rules.warnings(), [""; 0]);
}

#[test]
fn the_servers_warnings_are_the_same_lints() {
    let text =
        "ci_access: {groups: [{id: acme}, {id: acme}], projects: [{id: a/b, refs: ['.*', '.*']}]}";
    let rules = Rules::parse(text, "config.yaml").unwrap();
    let all: Vec<_> = found(text).iter().map(ToString::to_string).collect();
    for warning in rules.warnings() {
        assert!(all.contains(warning), "{warning}");
    }
    // But for what compares entries with each other.
    let duplicate = found(text)
        .iter()
        .filter(|finding| finding.lint == Lint::DuplicateEntry)
        .count();
    assert_eq!(
        (rules.warnings().len() + duplicate, duplicate),
        (all.len(), 1)
    );
}

#[test]
fn names_are_distinct_and_told() {
    let mut names: Vec<_> = Lint::ALL.iter().map(|lint| lint.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Lint::ALL.len());
    assert!(Lint::ALL.iter().all(|lint| lint.summary().ends_with('.')));
    assert_eq!(
        Lint::LoneStar.summary(),
        "A single star matches names without a slash alone."
    );
}

#[test]
fn what_takes_too_long_to_compare_is_passed_over() {
    let entry = |number: usize| {
        let patterns: Vec<_> = (0..40)
            .map(|at| format!("'{}*{at}-{number}'", "*a".repeat(20)))
            .collect();
        format!("  - {{id: acme/app, refs: [{}]}}\n", patterns.join(", "))
    };
    let text = (0..).map(entry).scan(0, |size, entry| {
        *size += entry.len();
        (*size < MAX_FILE - 100).then_some(entry)
    });
    let text = format!("ci_access:\n  projects:\n{}", text.collect::<String>());
    assert_eq!(found(&text), []);
}
