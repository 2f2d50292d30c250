//! `server.yaml`: the shipped example shows every key and its default, and every mistake is told with file and field.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../tests/support/keys.rs"]
mod keys;

use std::path::{Path, PathBuf};

use ci_tunnel::config::load;
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
    assert_eq!(format!("{config:#?}"), format!("{:#?}", Config::default()));
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
    for file in files {
        let wanted = std::fs::read_to_string(file.with_extension("message")).unwrap();
        let error = match Config::load(Some(&file)) {
            Ok(_) => panic!("{} was accepted", file.display()),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(wanted.trim()), "{}: {error}", file.display());
        let name = file.display().to_string();
        assert!(error.starts_with(&name), "{name}: {error}");
    }
}
