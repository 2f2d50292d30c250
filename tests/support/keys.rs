//! Which keys an example file shows, and which keys the program knows.

use std::collections::BTreeSet;

use ci_tunnel::config::load;
use serde_json::Value;

/// The keys that an example shows, active or commented out as `# key: value`, as paths: `kubernetes_api.url`.
pub(crate) fn shown(text: &str) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    let mut parents: Vec<(usize, String)> = Vec::new();
    for line in text.lines() {
        let Some((indent, key, value)) = entry(line) else {
            continue;
        };
        parents.retain(|(other, _)| *other < indent);
        let path = match parents.last() {
            Some((_, parent)) => format!("{parent}.{key}"),
            None => key.to_owned(),
        };
        if let Ok(value) = load::from_str(value, "value") {
            inner(&path, &value, &mut paths);
        }
        paths.insert(path.clone());
        parents.push((indent, path));
    }
    paths
}

/// A key that is commented out, with its value.
pub(crate) fn is_commented(line: &str) -> bool {
    line.trim_start().starts_with("# ") && entry(line).is_some()
}

fn entry(line: &str) -> Option<(usize, &str, &str)> {
    let indent = line.len() - line.trim_start().len();
    let rest = line.trim_start();
    let rest = rest.strip_prefix("# ").unwrap_or(rest);
    let (key, value) = rest.split_once(':')?;
    let plain = |c: char| c.is_ascii_lowercase() || c == '_';
    let spaced = value.is_empty() || value.starts_with(' ');
    (!key.is_empty() && key.chars().all(plain) && spaced).then_some((indent, key, value))
}

/// The keys of a value written in one line.
fn inner(path: &str, value: &Value, paths: &mut BTreeSet<String>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                let path = format!("{path}.{key}");
                inner(&path, value, paths);
                paths.insert(path);
            }
        }
        Value::Array(items) => {
            for item in items {
                inner(path, item, paths);
            }
        }
        _ => {}
    }
}

/// The keys that the program knows and `shown` lacks. `refusal` is what it says to a file it refuses: an unknown key is
/// put into each place in turn, and the answer lists those that are known there.
pub(crate) fn missing(shown: &BTreeSet<String>, refusal: &dyn Fn(&str) -> String) -> Vec<String> {
    let mut missing = Vec::new();
    let mut places = vec![Vec::<String>::new()];
    while let Some(place) = places.pop() {
        for key in known(&place, refusal) {
            let path = [place.as_slice(), &[key]].concat();
            if !shown.contains(&path.join(".")) {
                missing.push(path.join("."));
            }
            places.push(path);
        }
    }
    missing
}

/// The keys that are known at `place`; none where no mapping stands.
fn known(place: &[String], refusal: &dyn Fn(&str) -> String) -> Vec<String> {
    let nest = |inner: &str| {
        place
            .iter()
            .rev()
            .fold(inner.to_owned(), |inner, key| format!("{{{key}: {inner}}}"))
    };
    let told = [
        refusal(&nest("{no_such_key: 1}")),
        refusal(&nest("[{no_such_key: 1}]")),
    ];
    let list = told
        .iter()
        .find_map(|told| told.split_once("unknown field `no_such_key`, expected "));
    let quoted = list.map_or("", |(_, list)| list).split('`');
    quoted.skip(1).step_by(2).map(str::to_owned).collect()
}
