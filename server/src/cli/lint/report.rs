//! Findings as people and programs read them.

use std::collections::HashMap;
use std::io::{self, Write};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Format, Linted};
use crate::access::lint::{Finding, Lint, Severity};
use crate::cli::output;

/// Where the lints are described.
const DOCUMENTATION: &str =
    "https://gitlab.com/ci-tunnel/ci-tunnel/-/blob/main/docs/config-yaml.md";

pub(super) fn print(format: Format, files: &[Linted], out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Text => text(files, out),
        Format::Json => output::json(out, &list(files)),
        Format::CodeQuality => output::json(out, &code_quality(files)),
        Format::Sarif => output::json(out, &sarif(files)),
    }
}

/// The form that editors and terminals make links of.
fn text(files: &[Linted], out: &mut impl Write) -> io::Result<()> {
    let mut counts = [0; 3];
    for (file, finding) in all(files) {
        counts[finding.severity() as usize] += 1;
        let path = if finding.path.is_empty() {
            String::new()
        } else {
            format!("{}: ", finding.path)
        };
        writeln!(
            out,
            "{file}:{}:{}: {}: {path}{} [{}]",
            finding.line,
            finding.column,
            finding.severity().as_str(),
            finding.message,
            finding.lint.name()
        )?;
    }
    let [notes, warnings, errors] = counts;
    writeln!(
        out,
        "{}: {}, {}, {}",
        counted(files.len(), "file"),
        counted(errors, "error"),
        counted(warnings, "warning"),
        counted(notes, "note"),
    )
}

fn counted(count: usize, what: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {what}{ending}")
}

fn all(files: &[Linted]) -> impl Iterator<Item = (&str, &Finding)> {
    files.iter().flat_map(|file| {
        file.findings
            .iter()
            .map(|finding| (file.name.as_str(), finding))
    })
}

fn list(files: &[Linted]) -> Value {
    let findings = all(files).map(|(file, finding)| {
        json!({
            "rule": finding.lint.name(),
            "severity": finding.severity().as_str(),
            "file": file,
            "line": finding.line,
            "column": finding.column,
            "path": finding.path,
            "message": finding.message,
        })
    });
    findings.collect()
}

fn code_quality(files: &[Linted]) -> Value {
    let mut fingerprints = Fingerprints::default();
    let findings = all(files).map(|(file, finding)| {
        json!({
            "description": description(finding),
            "check_name": finding.lint.name(),
            "fingerprint": fingerprints.of(file, finding),
            "severity": match finding.severity() {
                Severity::Note => "info",
                Severity::Warning => "minor",
                Severity::Error => "critical",
            },
            "location": {"path": file, "lines": {"begin": finding.line}},
        })
    });
    findings.collect()
}

fn sarif(files: &[Linted]) -> Value {
    let rules: Vec<_> = Lint::ALL.iter().map(|lint| rule(*lint)).collect();
    let mut fingerprints = Fingerprints::default();
    let results: Vec<_> = all(files)
        .map(|(file, finding)| {
            json!({
                "ruleId": finding.lint.name(),
                "ruleIndex": Lint::ALL.iter().position(|lint| *lint == finding.lint),
                "level": finding.severity().as_str(),
                "message": {"text": description(finding)},
                "locations": [{"physicalLocation": {
                    "artifactLocation": {"uri": uri(file)},
                    "region": {"startLine": finding.line, "startColumn": finding.column},
                }}],
                "partialFingerprints": {"finding/v1": fingerprints.of(file, finding)},
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "ci-tunnel-server",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": DOCUMENTATION,
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn rule(lint: Lint) -> Value {
    json!({
        "id": lint.name(),
        "shortDescription": {"text": lint.summary()},
        "helpUri": format!("{DOCUMENTATION}#lints"),
        "defaultConfiguration": {"level": lint.severity().as_str()},
    })
}

fn description(finding: &Finding) -> String {
    if finding.path.is_empty() {
        finding.message.clone()
    } else {
        format!("{}: {}", finding.path, finding.message)
    }
}

/// A relative path of a file, of which URIs keep these characters.
fn uri(file: &str) -> String {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'/')
        .remove(b'_')
        .remove(b'~');
    utf8_percent_encode(file, ESCAPED).to_string()
}

/// What stays the same when a finding moves to another line, so that it is not taken for a new one.
#[derive(Default)]
struct Fingerprints {
    seen: HashMap<[u8; 32], usize>,
}

impl Fingerprints {
    /// Like findings of one file are told apart by their order.
    fn of(&mut self, file: &str, finding: &Finding) -> String {
        let words = finding.message.split_whitespace();
        // Messages name other entries by their lines.
        let mut hash = Sha256::new();
        for part in [file, finding.lint.name()].into_iter().chain(words) {
            let is_number = |byte: u8| byte.is_ascii_digit() || byte == b',';
            if !part.bytes().all(is_number) {
                hash.update(part);
                hash.update([0]);
            }
        }
        let count = self.seen.entry(hash.clone().finalize().into()).or_default();
        *count += 1;
        hash.update(count.to_be_bytes());
        hash.finalize()
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}
