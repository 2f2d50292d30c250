//! What `check --agent-config` prints in each format, and how it ends.

use std::fs;

use serde_json::Value;

use super::{Args, Format, Outcome, run};

const ODD: &str = "ci_access:\n  projects:\n  - id: acme/app\n    refs: ['*']\n";
const BAD: &str = "ci_access:\n  project: []\n";
const GOOD: &str = "ci_access:\n  projects:\n  - id: acme/app\n";

fn lint(format: Format, strict: bool, text: &str) -> (Outcome, String) {
    let args = Args {
        agent_config: vec!["-".into()],
        format,
        strict,
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let outcome = run(&args, &mut text.as_bytes(), &mut out, &mut err).unwrap();
    assert_eq!(err, b"");
    (outcome, String::from_utf8(out).unwrap())
}

fn json(format: Format, text: &str) -> Value {
    serde_json::from_str(&lint(format, false, text).1).unwrap()
}

#[test]
fn the_exit_status_says_how_bad_it_is() {
    let outcome = |strict, text| lint(Format::Text, strict, text).0;
    assert_eq!(outcome(true, GOOD), Outcome::Good);
    assert_eq!(outcome(false, ODD), Outcome::Good);
    assert_eq!(outcome(true, ODD), Outcome::Failed);
    assert_eq!(outcome(false, BAD), Outcome::Failed);
    let note = format!("{GOOD}    default_namespace: app\n");
    assert_eq!(outcome(true, &note), Outcome::Good);
    assert_eq!(Outcome::Unreadable as u8, 2);
}

#[test]
fn text_names_file_line_and_column() {
    let (_, text) = lint(Format::Text, false, ODD);
    let expected = "\
stdin:4:12: warning: ci_access.projects[0].refs[0]: \"*\" matches names without a slash alone, `feature/x` not: write \
\"**\" for all [lone-star]
1 file: 0 errors, 1 warning, 0 notes
";
    assert_eq!(text, expected);
}

#[test]
fn several_files_are_linted_though_one_is_missing() {
    let folder = tempfile::TempDir::new().unwrap();
    let [odd, bad, none] = ["odd", "bad", "none"].map(|name| folder.path().join(name));
    fs::write(&odd, ODD).unwrap();
    fs::write(&bad, BAD).unwrap();
    let args = Args {
        agent_config: vec![odd, none.clone(), bad],
        format: Format::Json,
        strict: false,
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let outcome = run(&args, &mut [].as_slice(), &mut out, &mut err).unwrap();
    assert_eq!(outcome, Outcome::Unreadable);
    let err = String::from_utf8(err).unwrap();
    assert!(
        err.starts_with(&format!("error: {}: ", none.display())),
        "{err}"
    );
    let found: Value = serde_json::from_slice(&out).unwrap();
    let rules: Vec<_> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["rule"].as_str().unwrap())
        .collect();
    assert_eq!(rules, ["lone-star", "unknown-key"]);
    assert_eq!(found[1]["line"], 2);
    assert_eq!(found[1]["column"], 3);
}

#[test]
fn code_quality_has_what_gitlab_asks_for() {
    let report = json(Format::CodeQuality, BAD);
    let finding = &report[0];
    assert_eq!(finding["severity"], "critical");
    assert_eq!(finding["check_name"], "unknown-key");
    assert_eq!(finding["location"]["path"], "stdin");
    assert_eq!(finding["location"]["lines"]["begin"], 2);
    assert!(
        finding["description"]
            .as_str()
            .unwrap()
            .contains("did you mean projects?")
    );
    assert_eq!(finding["fingerprint"].as_str().unwrap().len(), 32);
    assert_eq!(json(Format::CodeQuality, GOOD), serde_json::json!([]));
}

#[test]
fn a_fingerprint_is_one_findings_own_and_moves_with_it() {
    let fingerprints = |text: &str| -> Vec<Value> {
        let report = json(Format::CodeQuality, text);
        let findings = report.as_array().unwrap();
        findings
            .iter()
            .map(|finding| finding["fingerprint"].clone())
            .collect()
    };
    let two = format!("{ODD}  - id: acme/web\n    refs: ['*']\n");
    let before = fingerprints(&two);
    assert_eq!(before.len(), 2);
    assert_ne!(before[0], before[1]);
    assert_eq!(before, fingerprints(&format!("# moved\n\n{two}")));
}

#[test]
fn sarif_is_of_its_schema() {
    let report = json(Format::Sarif, ODD);
    assert_eq!(report["version"], "2.1.0");
    let run = &report["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let result = &run["results"][0];
    let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
    assert_eq!(rules[index]["id"], result["ruleId"]);
    assert_eq!(result["level"], "warning");
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "stdin");
    assert_eq!(place["region"]["startLine"], 4);
    assert_eq!(place["region"]["startColumn"], 12);
}
