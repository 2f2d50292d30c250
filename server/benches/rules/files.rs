//! Agent configuration of the sizes that are measured. Each number gives another text of the same size.

use std::fmt::Write as _;

/// 500 projects and 500 groups.
pub(crate) fn large(number: usize) -> String {
    entries(number, 500)
}

/// Five projects and five groups: what most agents have.
pub(crate) fn small(number: usize) -> String {
    entries(number, 5)
}

fn entries(number: usize, count: usize) -> String {
    let mut text = format!("# {number:06}\nci_access:\n  projects:\n");
    for at in 0..count {
        let _ = write!(
            text,
            "  - id: acme/team-{at}/app-{at}\n    environments: [\"review/*\"]\n    access_as: {{ci_job: {{}}}}\n"
        );
    }
    text.push_str("  groups:\n");
    for at in 0..count {
        let _ = write!(
            text,
            "  - id: acme/group-{at}\n    access_as: {{ci_job: {{}}}}\n"
        );
    }
    text
}

/// One project 500 times, of which the last entry alone matches.
pub(crate) fn crowded() -> String {
    let mut text = "ci_access:\n  projects:\n".to_owned();
    for at in 0..499 {
        let _ = write!(
            text,
            "  - id: acme/app\n    environments: [\"review/**/{at}-*\"]\n    refs: [main]\n"
        );
    }
    text.push_str("  - id: acme/app\n");
    text
}
