//! `server.yaml`: the shipped example shows every key and its default, and every mistake is told with file and field.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

#[path = "../../tests/support/keys.rs"]
mod keys;

use std::path::{Path, PathBuf};

use ci_tunnel::config::load;
use ci_tunnel_server::access::Rules;
use ci_tunnel_server::config::Config;
use keys::{missing, shown};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn example() -> String {
    std::fs::read_to_string(repository("docs/examples/server.yaml")).unwrap()
}

#[test]
fn the_example_is_the_defaults() {
    let config = Config::load(Some(&repository("docs/examples/server.yaml"))).unwrap();
    let default = Config::load(None).unwrap();
    assert_eq!(format!("{config:#?}"), format!("{default:#?}"));
}

#[test]
fn the_example_shows_every_key() {
    let refusal = |text: &str| {
        load::from_str::<Config>(text, "server.yaml")
            .unwrap_err()
            .to_string()
    };
    assert_eq!(missing(&shown(&example()), &refusal), Vec::<String>::new());
}

/// A key that is commented out has no default; what stands behind it must be what one may write.
#[test]
fn what_the_example_comments_out_can_be_used() {
    let text = example();
    let commented: Vec<_> = text
        .lines()
        .filter(|line| keys::is_commented(line))
        .collect();
    assert!(commented.len() >= 5, "{commented:?}");
    for line in commented {
        let used = text.replace(line, &line.replacen("# ", "", 1));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("server.yaml");
        std::fs::write(&file, used).unwrap();
        let outcome = Config::load(Some(&file));
        assert!(outcome.is_ok(), "{line}: {outcome:?}");
    }
}

#[test]
fn the_example_of_providers_can_be_used() {
    let config = Config::load(Some(&repository("docs/examples/server-providers.yaml"))).unwrap();
    let issuers: Vec<_> = config
        .authn
        .providers
        .iter()
        .filter_map(|provider| provider.issuer())
        .collect();
    let expected = [
        "https://gitlab.example.com",
        "https://token.actions.githubusercontent.com",
        "https://agent.buildkite.com",
    ];
    assert_eq!(issuers, expected);
}

#[test]
fn the_example_of_an_agents_configuration_shows_every_key() {
    let text = std::fs::read_to_string(repository("docs/examples/config.yaml")).unwrap();
    let rules = Rules::parse(&text, "config.yaml").unwrap();
    assert_eq!(rules.warnings(), Vec::<String>::new());
    for place in [
        "no_such_key: 1",
        "ci_access: {no_such_key: 1}",
        "ci_access: {projects: [{no_such_key: 1}]}",
        "ci_access: {projects: [{id: a, access_as: {no_such_key: 1}}]}",
        "ci_access: {projects: [{id: a, access_as: {impersonate: {no_such_key: 1}}}]}",
        "ci_access: {projects: [{id: a, access_as: {impersonate: {username: a, extra: [{no_such_key: 1}]}}}]}",
    ] {
        let told = Rules::parse(place, "config.yaml").unwrap_err().to_string();
        let told = told.split(" (and ").next().unwrap();
        let (_, known) = told.split_once("known here are ").expect(told);
        for key in known.split(", ") {
            assert!(text.contains(&format!("{key}:")), "{place}: {key}");
        }
    }
}

#[test]
fn what_is_wrong_is_told_with_file_and_field() {
    let directory = repository("tests/data/server-config/invalid");
    let files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    assert!(files.len() >= 20, "{}", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let wanted = std::fs::read_to_string(file.with_extension("message")).unwrap();
        let (wanted, name) = (wanted.trim(), file.display().to_string());
        match Config::load(Some(&file)) {
            Ok(_) => wrong.push(format!("{name} was accepted")),
            Err(error) if !told(&error.to_string(), &name, wanted) => {
                wrong.push(format!("{name}: {error}\n  lacks: {wanted}"));
            }
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The message begins with the file and holds what is wanted; the value of a secret never.
fn told(error: &str, file: &str, wanted: &str) -> bool {
    error.starts_with(file) && error.contains(wanted) && !error.contains("8675309")
}
