//! The layers: a module names only modules of lower layers. `docs/ARCHITECTURE.md` shows the picture.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

/// The modules of a crate, a layer a line, the highest first.
type Layers = &'static [&'static [&'static str]];

const SERVER: Layers = &[
    &["cli"],
    &["app"],
    &["config"],
    &["proxy", "listener", "status"],
    &["routing", "authn", "configrepo"],
    &["agents"],
    &["store", "audit"],
    &["access", "kubeconfig"],
    &["identity", "metrics"],
];

const AGENT: Layers = &[
    &["cli"],
    &["app"],
    &["config"],
    &["connect"],
    &["session"],
    &["stream"],
    &["health"],
    &["metrics"],
    &["identity", "upstream"],
];

const LIBRARY: Layers = &[&["transport", "runtime"], &["kube", "protocol", "config"]];

/// Modules that decide, and must be testable without a runtime, a network or a clock of their own.
const PURE: &[&str] = &[
    "src/protocol",
    "src/kube",
    "server/src/access",
    "server/src/kubeconfig",
];

#[test]
fn a_module_names_lower_layers_alone() {
    let mut wrong = Vec::new();
    for (root, layers) in [
        ("server/src", SERVER),
        ("agent/src", AGENT),
        ("src", LIBRARY),
    ] {
        for file in sources(root) {
            let module = module(&file, root);
            let Some(own) = layer(layers, &module) else {
                wrong.push(format!(
                    "{}: the module {module} has no layer",
                    file.display()
                ));
                continue;
            };
            for named in named(&code(&file)).filter(|named| *named != module) {
                if layer(layers, &named).is_none_or(|other| other <= own) {
                    wrong.push(format!("{}: {module} names {named}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn names_are_found_alone_and_in_braces() {
    let code = "use crate::a::B; use crate::{c, d::{e, f}, g as h}; crate::i::j()";
    assert_eq!(named(code).collect::<Vec<_>>(), ["a", "c", "d", "g", "i"]);
    assert!(sources("server/src").len() > 50);
}

#[test]
fn server_and_agent_do_not_name_each_other() {
    for (root, other) in [
        ("server/src", "ci_tunnel_agent"),
        ("agent/src", "ci_tunnel_server"),
        ("src", "ci_tunnel_server"),
        ("src", "ci_tunnel_agent"),
    ] {
        for file in sources(root) {
            let named = code(&file).contains(&format!("{other}::"));
            assert!(!named, "{} names {other}", file.display());
        }
    }
}

#[test]
fn what_decides_is_pure() {
    for root in PURE {
        let file = repository().join(format!("{root}.rs"));
        for file in sources(root).into_iter().chain([file]) {
            let code = code(&file);
            for impure in ["tokio", "hyper::", "std::net", "std::fs", "::now()"] {
                assert!(!code.contains(impure), "{} names {impure}", file.display());
            }
        }
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every source file but the crate's roots and tests.
fn sources(root: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![repository().join(root)];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            if ["lib", "main", "tests", "testing", "suite"].contains(&stem) {
                continue;
            }
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// The module right below the crate's root that `file` belongs to.
fn module(file: &Path, root: &str) -> String {
    let inner = file.strip_prefix(repository().join(root)).unwrap();
    let first = inner.iter().next().unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn layer(layers: Layers, module: &str) -> Option<usize> {
    layers.iter().position(|layer| layer.contains(&module))
}

/// The text of a file without comments and without the tests at its end.
fn code(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules that stand behind `crate::`, alone or in braces.
fn named(code: &str) -> impl Iterator<Item = String> + '_ {
    code.match_indices("crate::").flat_map(|(at, found)| {
        let rest = &code[at + found.len()..];
        match rest.strip_prefix('{') {
            None => vec![word(rest)],
            Some(list) => first_words(list),
        }
    })
}

/// The first word of each item of a list up to its closing brace.
fn first_words(list: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut depth, mut item) = (0, String::new());
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => words.push(word(std::mem::take(&mut item).trim())),
            _ => {}
        }
        if depth == 0 && c != ',' {
            item.push(c);
        }
    }
    words.push(word(item.trim()));
    words.retain(|word| !word.is_empty());
    words
}

fn word(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}
