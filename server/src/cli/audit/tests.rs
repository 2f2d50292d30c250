//! What is printed, and how a command ends.

use super::*;
use crate::audit::Audit;
use crate::metrics::Metrics;

fn parse<A: clap::Args>(arguments: &[&str]) -> A {
    let command = A::augment_args(clap::Command::new("test").no_binary_name(true));
    A::from_arg_matches(&command.try_get_matches_from(arguments).unwrap()).unwrap()
}

/// A server that wrote the lines of two requests, and ended.
fn written() -> (tempfile::TempDir, Config) {
    let state = tempfile::tempdir().unwrap();
    let config = Config {
        state_dir: state.path().to_owned(),
        ..Config::default()
    };
    let metrics = Metrics::new(&mut prometheus_client::registry::Registry::default());
    let (audit, writer) = Audit::start(&config.audit, &config.state_dir, metrics).unwrap();
    for (id, path) in [("1", "/api"), ("2", "/a b\u{1b}[2J")] {
        let mut record = audit.open(id.to_owned(), None);
        record.request(&http::Method::GET, path, None);
        record.status(200);
    }
    writer.finish();
    (state, config)
}

fn query(config: &Config, arguments: &[&str]) -> String {
    let mut out = Vec::new();
    let now = Timestamp::now();
    query::run(&parse(arguments), config, now, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn verify(config: &Config, arguments: &[&str]) -> (bool, String) {
    let mut out = Vec::new();
    let code = verify::run(&parse(arguments), config, &mut out).unwrap();
    (code == ExitCode::SUCCESS, String::from_utf8(out).unwrap())
}

#[test]
fn lines_are_printed_for_people_and_as_they_are() {
    let (_state, config) = written();
    let text = query(&config, &[]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(
        lines[0].contains(" --- the server starts, version "),
        "{text}"
    );
    assert!(
        lines[1].contains(" 200 GET    /api ") && lines[1].ends_with(" client_gone 1"),
        "{text}"
    );
    assert!(lines[2].contains(" /a_b\u{fffd}[2J "), "{text}");
    let raw = query(&config, &["--format=json", "--status=2xx", "--since=1h"]);
    let log = std::fs::read_to_string(config.state_dir.join("audit.log")).unwrap();
    assert_eq!(raw.lines().count(), 2);
    assert!(log.contains(&raw));
    for none in [
        ["--request-id=3"],
        ["--until=2h"],
        ["--since=2100-01-01"],
        ["--verb=get"],
    ] {
        assert_eq!(query(&config, &none), "", "{none:?}");
    }
    assert_eq!(
        query(&config, &["--request-id=2", "--reason=client_gone"])
            .lines()
            .count(),
        1
    );
}

#[test]
fn a_check_tells_where_something_is_wrong() {
    let (_state, config) = written();
    let (ok, text) = verify(&config, &[]);
    assert!(
        ok && text.starts_with("ok: 4 lines in 1 files, from 1 on; the last is 4:"),
        "{text}"
    );
    let last = text.trim_end().rsplit(' ').next().unwrap().to_owned();
    let log = config.state_dir.join("audit.log");
    let whole = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, whole.replace("/api", "/apo")).unwrap();
    let (ok, text) = verify(&config, &[]);
    let wanted = format!("WRONG: {}:2: changed: the hash of line 2", log.display());
    assert!(
        !ok && text.contains(&wanted) && text.contains("NOT OK: 4 lines"),
        "{text}"
    );
    let short: String = whole.split_inclusive('\n').take(3).collect();
    std::fs::write(&log, short).unwrap();
    let expect = format!("--expect-last={last}");
    let (ok, text) = verify(&config, &[&expect, "--json"]);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(!ok && value["ok"] == false, "{text}");
    let message = value["wrong"][0]["message"].as_str().unwrap();
    assert!(message.starts_with("truncated: "), "{text}");
}
