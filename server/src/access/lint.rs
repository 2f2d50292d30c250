//! What is wrong with an agent's configuration, or probably not meant so: each finding with its lint's name and place.
//!
//! Errors refuse the file. Warnings and notes do not: what they are about means what it says, but hardly what was wanted.
//! [`Rules::warnings`](super::Rules::warnings) are the warnings that need no comparing of entries with each other.

mod entries;
mod overlap;
pub(super) mod patterns;

use std::fmt;

use ci_tunnel::config::document::{Invalid, Kind, Place};
use ci_tunnel::config::load;

use super::entry::Entry;
use super::{MAX_FILE, parse};

/// One thing that was found in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub lint: Lint,
    /// The line, counted from 1; the first where no line is to blame.
    pub line: usize,
    /// The column, counted from 1, in characters.
    pub column: usize,
    /// The way from the root of the document; empty where the text is no document.
    pub path: String,
    pub message: String,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth a look.
    Note,
    /// Means what it says, but hardly what was wanted.
    Warning,
    /// The file is refused.
    Error,
}

macro_rules! lints {
    ($($(#[doc = $summary:literal])+ $severity:ident $variant:ident = $name:literal),* $(,)?) => {
        /// What is looked for. The names are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Lint { $($(#[doc = $summary])+ $variant),* }

        impl Lint {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            pub fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity),* }
            }

            /// What it is about, in a sentence.
            pub fn summary(self) -> &'static str {
                match self { $(Self::$variant => concat!($($summary),+).trim_ascii()),* }
            }
        }
    };
}

lints! {
    /// The file is larger than is read.
    Error TooLarge = "too-large",
    /// The file is not UTF-8 text.
    Error NotText = "not-text",
    /// The text is not YAML.
    Error Syntax = "syntax",
    /// A key means nothing at its place.
    Error UnknownKey = "unknown-key",
    /// A value is of another kind than must stand there.
    Error WrongType = "wrong-type",
    /// A value can not be used.
    Error InvalidValue = "invalid-value",
    /// The agent's own rights are given to a whole group or to every project.
    Warning AgentForMany = "agent-for-many",
    /// No job can meet all conditions of the entry.
    Warning Contradiction = "contradiction",
    /// An entry says the same as an earlier one.
    Warning DuplicateEntry = "duplicate-entry",
    /// An entry of projects or groups names what is of the other kind by another entry.
    Warning GroupOrProject = "group-or-project",
    /// No project or group can have the path.
    Warning ImpossiblePath = "impossible-path",
    /// Nothing can have a name that the pattern matches.
    Warning ImpossiblePattern = "impossible-pattern",
    /// A word is close to one that is usual there.
    Warning LikelyTypo = "likely-typo",
    /// A single star matches names without a slash alone.
    Warning LoneStar = "lone-star",
    /// There are more entries than GitLab uses.
    Warning ManyEntries = "many-entries",
    /// The file lets nobody in.
    Warning NoAccess = "no-access",
    /// A key without a value has no effect.
    Warning NoValue = "no-value",
    /// A pattern looks like a regular expression, of which only stars mean something.
    Warning RegularExpression = "regular-expression",
    /// A pattern matches nothing that another of its list does not.
    Warning RedundantPattern = "redundant-pattern",
    /// An earlier entry decides wherever this one could.
    Warning ShadowedEntry = "shadowed-entry",
    /// The identity is one of Kubernetes' own.
    Warning SystemIdentity = "system-identity",
    /// The namespace is a default and limits nothing.
    Note NamespaceIsNoLimit = "namespace-is-no-limit",
    /// Who may start a pipeline may name an environment.
    Note OpenEnvironment = "open-environment",
}

/// Everything that can be found in `content`, the bytes of an agent configuration file, by place.
pub fn file(content: &[u8]) -> Vec<Finding> {
    if content.len() > MAX_FILE {
        let message = format!("{} bytes, {MAX_FILE} at most", content.len());
        return vec![Finding::of_file(Lint::TooLarge, message)];
    }
    let text = match std::str::from_utf8(content) {
        Ok(text) => text,
        Err(error) => {
            return vec![Finding::of_file(
                Lint::NotText,
                format!("not UTF-8 text: {error}"),
            )];
        }
    };
    let document = match load::document(text, "") {
        Ok(document) => document,
        Err(error) => return vec![Finding::syntax(&error)],
    };
    let read = parse::file(&document);
    let mut findings: Vec<_> = read.errors.iter().map(Finding::from).collect();
    if findings.is_empty() && read.entries.is_empty() && !read.implicit {
        findings.push(Finding::at(
            &Place::root(&document),
            Lint::NoAccess,
            "lets nobody in: no entry, and implicit access is turned off",
        ));
    }
    findings.extend(read.findings);
    findings.extend(entries(&read.entries));
    findings.extend(overlap::all(&read.entries));
    findings.sort_by_key(|finding| (finding.line, finding.column, finding.lint));
    findings
}

/// What can be found by looking at each entry by itself, and at paths.
pub(super) fn entries(entries: &[Entry]) -> Vec<Finding> {
    entries::all(entries)
}

impl Finding {
    pub fn severity(&self) -> Severity {
        self.lint.severity()
    }

    pub(super) fn at(place: &Place<'_>, lint: Lint, message: impl ToString) -> Self {
        Self {
            lint,
            line: place.line(),
            column: place.column(),
            path: place.path().to_owned(),
            message: message.to_string(),
        }
    }

    fn on(entry: &Entry, lint: Lint, message: impl ToString) -> Self {
        let (line, column) = entry.rule.position();
        Self {
            lint,
            line,
            column,
            path: entry.rule.path(),
            message: message.to_string(),
        }
    }

    fn of_file(lint: Lint, message: String) -> Self {
        Self {
            lint,
            line: 1,
            column: 1,
            path: String::new(),
            message,
        }
    }

    fn syntax(error: &load::Error) -> Self {
        let (message, line, column) = match error {
            load::Error::Parse {
                message,
                line,
                column,
                ..
            } => (message.clone(), *line, *column),
            other => (other.to_string(), None, None),
        };
        Self {
            line: line.unwrap_or(1),
            column: column.unwrap_or(1),
            ..Self::of_file(Lint::Syntax, message)
        }
    }
}

impl From<&Invalid> for Finding {
    fn from(invalid: &Invalid) -> Self {
        Self {
            lint: match invalid.kind {
                Kind::UnknownKey => Lint::UnknownKey,
                Kind::WrongType => Lint::WrongType,
                Kind::Value => Lint::InvalidValue,
            },
            line: invalid.line,
            column: invalid.column,
            path: invalid.path.clone(),
            message: invalid.message.clone(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

#[cfg(test)]
mod tests;
