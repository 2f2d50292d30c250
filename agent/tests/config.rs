//! `agent.yaml`: the shipped example shows every key, and every mistake is told with file and field.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

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
    // The other form of a secret; the example shows the recommended one.
    missing.retain(|key| key != "token.env" && !key.starts_with("server_proxy."));
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
    let mut wrong = Vec::new();
    for file in files {
        let wanted = std::fs::read_to_string(file.with_extension("message")).unwrap();
        let (wanted, name) = (wanted.trim(), file.display().to_string());
        match loaded(&file, |_| None) {
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
