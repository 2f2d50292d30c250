//! `agent.yaml`: the shipped example shows every key, and every mistake is told with file and field.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../tests/support/keys.rs"]
mod keys;

use std::path::{Path, PathBuf};

use ci_tunnel::config::load;
use ci_tunnel_agent::config::{self, Config, Error, File, Flags};
use keys::{is_commented, missing, shown};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn loaded(file: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<Config, Error> {
    let flags = Flags {
        config: Some(file.to_owned()),
        ..Flags::default()
    };
    config::load(&flags, variable)
}

#[test]
fn the_example_loads_and_shows_every_key() {
    let file = repository("docs/examples/agent.yaml");
    let pod = |name: &str| {
        name.starts_with("KUBERNETES_SERVICE")
            .then(|| "443".to_owned())
    };
    loaded(&file, pod).unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.lines().any(is_commented));
    let refusal = |text: &str| {
        load::from_str::<File>(text, "agent.yaml")
            .map_or_else(|error| error.to_string(), |_| String::new())
    };
    let mut missing = missing(&shown(&text), &refusal);
    // The two other forms of a secret; the example shows the recommended one.
    missing.retain(|key| key != "token.env");
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn what_is_wrong_is_told_with_file_and_field() {
    let files: Vec<_> = std::fs::read_dir(repository("tests/data/agent-file/invalid"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    assert!(files.len() >= 20, "{}", files.len());
    for file in files {
        let wanted = std::fs::read_to_string(file.with_extension("message")).unwrap();
        let error = match loaded(&file, |_| None) {
            Ok(_) => panic!("{} was accepted", file.display()),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(wanted.trim()), "{}: {error}", file.display());
        let name = file.display().to_string();
        assert!(error.starts_with(&name), "{name}: {error}");
        assert!(!error.contains("8675309"), "{error}");
    }
}
