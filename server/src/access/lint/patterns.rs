//! Patterns that mean what they say, but hardly what was wanted.

use ci_tunnel::config::document::{Place, nearest};

use super::{Finding, Lint};
use crate::access::condition::Condition;
use crate::access::glob::Glob;

/// What starts pipelines, as GitLab and GitHub call it. Others have words of their own.
const PIPELINE_SOURCES: &[&str] = &[
    "api",
    "chat",
    "deployment",
    "external",
    "external_pull_request_event",
    "issue_comment",
    "merge_group",
    "merge_request_event",
    "ondemand_dast_scan",
    "ondemand_dast_validation",
    "parent_pipeline",
    "pipeline",
    "pull_request",
    "pull_request_target",
    "push",
    "release",
    "repository_dispatch",
    "schedule",
    "security_orchestration_policy",
    "trigger",
    "web",
    "webide",
    "workflow_call",
    "workflow_dispatch",
    "workflow_run",
];

/// What is odd about one pattern of a condition.
pub(in crate::access) fn pattern(
    condition: Condition,
    glob: &Glob,
    place: &Place<'_>,
) -> Option<Finding> {
    let text = glob.as_str();
    let finding = |lint, message: String| Some(Finding::at(place, lint, message));
    let slashes = matches!(condition, Condition::Environments | Condition::Refs);
    if let Some(part) = regular_expression(text) {
        let message = format!(
            "{text:?} looks like a regular expression: {part:?} stands for itself here; only `*` (within a segment) and \
             `**` (across) mean something, and a pattern matches as a whole"
        );
        return finding(Lint::RegularExpression, message);
    }
    if text == "*" && slashes {
        let message =
            "\"*\" matches names without a slash alone, `feature/x` not: write \"**\" for all";
        return finding(Lint::LoneStar, message.to_owned());
    }
    if condition == Condition::Refs
        && let Some(why) = impossible_ref(text)
    {
        let message = format!("no branch or tag can be called {text:?}: {why}");
        return finding(Lint::ImpossiblePattern, message);
    }
    if condition == Condition::PipelineSources
        && !text.contains('*')
        && !PIPELINE_SOURCES.contains(&text)
        && let Some(near) = nearest(text, PIPELINE_SOURCES)
    {
        return finding(
            Lint::LikelyTypo,
            format!("{text:?}: did you mean {near:?}?"),
        );
    }
    None
}

/// The part that only a regular expression would have.
fn regular_expression(text: &str) -> Option<&str> {
    const PARTS: &[&str] = &[
        ".+", "\\d", "\\w", "\\s", "\\b", "\\.", "\\/", "\\-", "[0-9]", "[a-z]", "[A-Z]", "[^",
        "(?", "+$", "){", "]{", "]+", "]*", ")*", ")+", ")?",
    ];
    if let Some(part) = PARTS.iter().find(|part| text.contains(**part)) {
        return Some(part);
    }
    // `v1.*` and `*.*` are patterns that people mean; `.*` and `release-.*` are not.
    let any = text.match_indices(".*").find(|(at, _)| {
        let before = text[..*at].chars().next_back();
        !before.is_some_and(|before| before.is_ascii_digit() || before == '*')
    });
    if let Some((_, part)) = any {
        return Some(part);
    }
    let open = text.find('(')?;
    let close = open + text[open..].find(')')?;
    text[open..close].contains('|').then(|| &text[open..=close])
}

/// Git's rules for the names of branches and tags, as far as a pattern's own text breaks them.
fn impossible_ref(text: &str) -> Option<&'static str> {
    const NEVER: &[char] = &[' ', '~', '^', ':', '?', '[', '\\'];
    if text.contains(NEVER) {
        return Some("Git allows neither spaces nor any of ~ ^ : ? [ \\");
    }
    let segment = |text: &str| text.starts_with('.') || text.ends_with(".lock");
    match text {
        _ if text.contains("..") => Some("Git does not allow two dots in a row"),
        _ if text.contains("@{") => Some("Git does not allow @{"),
        _ if text.contains("//") => Some("Git does not allow empty segments"),
        _ if text.ends_with('/') => Some("it would end with a slash; `/**` matches what is below"),
        _ if text.ends_with('.') => Some("Git does not allow a dot at the end"),
        _ if text.split('/').any(segment) => {
            Some("Git allows no segment that begins with a dot or ends with .lock")
        }
        _ => None,
    }
}
