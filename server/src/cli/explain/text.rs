//! An explanation as lines for a person.

use std::fmt::Write as _;

use ci_tunnel::protocol::identity::{Impersonation, KubernetesIdentity};
use http::{HeaderName, HeaderValue};

use super::Report;
use super::past::{Past, Then};
use super::subject::Subject;
use crate::access::{Considered, Explanation, Outcome, Permit, RuleRef};
use crate::audit::Line;
use crate::cli::output::{printable, word};
use crate::identity::{JobIdentity, RefType};

/// Everything there is to say of one agent.
pub(super) fn whole(subject: &Subject, report: &Report) -> String {
    let mut text = head(subject);
    if let Some(past) = &subject.past {
        text.push_str(&beside(past, report));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&refused(report));
    text.push_str(&render(&report.explanation, report.source.file.as_deref()));
    if !report.notes.is_empty() {
        text.push('\n');
    }
    for note in &report.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

/// All agents, a line each.
pub(super) fn list(subject: &Subject, reports: &[Report]) -> String {
    let mut text = head(subject);
    if !text.is_empty() {
        text.push('\n');
    }
    for report in reports {
        let agent = &report.explanation.agent;
        let _ = match (&report.explanation.decision, report.refusals.first()) {
            (Ok(permit), None) => writeln!(
                text,
                "allowed  {agent}: by {}, as {}",
                permit.rule(),
                permit.access_as()
            ),
            (_, Some(refusal)) => writeln!(text, "denied   {agent}: {refusal}"),
            (Err(denied), None) => writeln!(text, "denied   {agent}: {denied}"),
        };
    }
    if reports.is_empty() {
        text.push_str("there are no agents: see `agent create`\n");
    }
    text
}

/// Whose request or credential it is; nothing for a job that was described.
fn head(subject: &Subject) -> String {
    let job = job(&subject.job);
    match (&subject.past, &subject.credential) {
        (Some(past), _) => format!("{}\n  job: {job}\n", asked(&past.line)),
        (None, Some(credential)) => {
            let mut text = format!("credential {}\n  job: {job}\n", credential.who.token);
            if let Some(warning) = subject.warning() {
                let _ = writeln!(text, "  {warning}");
            }
            text
        }
        (None, None) => String::new(),
    }
}

/// `request <id> of <time>: list pods in namespace shop: 200`.
fn asked(line: &Line) -> String {
    let id = word(&line.request_id);
    let mut text = format!("request {id} of {:.0}: ", line.time);
    match &line.verb {
        Some(verb) if !line.resource.is_empty() => {
            let _ = write!(text, "{} {}", word(verb), word(&line.resource));
            for (before, part) in [
                ("/", &line.subresource),
                (" ", &line.name),
                (" in namespace ", &line.namespace),
            ] {
                if !part.is_empty() {
                    let _ = write!(text, "{before}{}", word(part));
                }
            }
        }
        _ => {
            let _ = write!(text, "{} {}", word(&line.method), word(&line.path));
        }
    }
    match line.status {
        Some(status) => text + &format!(", answered {status}"),
        None => text,
    }
}

/// What was decided then, and what is otherwise now.
fn beside(past: &Past, report: &Report) -> String {
    let mut text = match past.then() {
        Then::Allowed { rule } => {
            let r#as = past.line.kubernetes.as_ref().map(|then| then.r#as.as_str());
            let (rule, whom) = (printable(rule), word(r#as.unwrap_or("agent")));
            format!("  then: allowed by {rule}, as {whom}\n")
        }
        Then::Denied { message } => format!("  then: denied: {}\n", printable(message)),
        Then::Undecided => {
            let message = past
                .line
                .message
                .as_deref()
                .unwrap_or("no agent was asked for");
            format!("  then: not decided: {}\n", printable(message))
        }
    };
    if !matches!(past.then(), Then::Undecided) {
        let differences = past.differences(report);
        let now = if differences.is_empty() {
            "the same".to_owned()
        } else {
            printable(&differences.join("; "))
        };
        let _ = writeln!(text, "  now: {now}");
    }
    let _ = match past.rules_changed(report) {
        Some(true) => writeln!(
            text,
            "  rules: changed since: revision {} then, {} now",
            word(revision(past.line.revision.as_deref())),
            revision(report.source.revision.as_deref())
        ),
        Some(false) => writeln!(text, "  rules: the same file as then"),
        None => Ok(()),
    };
    text
}

fn revision(revision: Option<&str>) -> &str {
    match revision {
        Some(revision) if !revision.is_empty() => revision,
        _ => "none",
    }
}

fn refused(report: &Report) -> String {
    let line = |refusal: &String| format!("refused: {refusal}, whatever the rules say\n");
    report.refusals.iter().map(line).collect()
}

/// A decision and its reasons, ending with a newline.
pub fn render(explanation: &Explanation, file: Option<&str>) -> String {
    let mut text = String::new();
    let Explanation {
        agent,
        project,
        decision,
        considered,
    } = explanation;
    // Writing to a `String` cannot fail.
    let _ = match decision {
        Ok(permit) => writeln!(
            text,
            "allowed: {project} may use {agent}\n{}",
            permitted(permit, file)
        ),
        Err(denied) => writeln!(
            text,
            "denied: {project} may not use {agent}\n  because: {denied}{}",
            place(denied.rule(), file)
        ),
    };
    if !considered.is_empty() {
        text.push_str("\nrules that name the project, in the order they are asked:\n");
    }
    for entry in considered {
        let _ = write!(text, "  {}", line(entry));
    }
    text
}

fn permitted(permit: &Permit, file: Option<&str>) -> String {
    let rule = permit.rule();
    let place = place(Some(rule), file);
    let mut text = format!("  by: {rule}{place}\n  as: {}", permit.access_as());
    match permit.identity() {
        KubernetesIdentity::Agent => text.push_str(", the agent's own service account: no headers"),
        KubernetesIdentity::Impersonate(identity) => text.push_str(&impersonation(identity)),
    }
    if let Some(namespace) = permit.default_namespace() {
        let _ = write!(text, "\n  default namespace: {namespace}");
    }
    text
}

/// Where in which file the rule stands, so that an editor can be sent there.
fn place(rule: Option<&RuleRef>, file: Option<&str>) -> String {
    match (rule.and_then(RuleRef::line), file) {
        (Some(line), Some(file)) => format!("\n  at: {file}:{line}"),
        _ => String::new(),
    }
}

/// The headers, as the agent sends them.
fn impersonation(identity: &Impersonation) -> String {
    match identity.headers() {
        Ok(headers) => headers
            .iter()
            .map(|(name, value)| format!("\n    {}: {}", spelled(name), shown(value)))
            .collect(),
        Err(error) => format!("\n    the agent refuses it: {error}"),
    }
}

/// Headers have no case. People know them so: `Impersonate-Extra-agent.gitlab.com%2fid`.
pub(super) fn spelled(name: &HeaderName) -> String {
    let name = name.as_str();
    for (header, spelled) in [
        ("impersonate-user", "Impersonate-User"),
        ("impersonate-uid", "Impersonate-Uid"),
        ("impersonate-group", "Impersonate-Group"),
    ] {
        if name == header {
            return spelled.to_owned();
        }
    }
    name.replacen("impersonate-extra-", "Impersonate-Extra-", 1)
}

pub(super) fn shown(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn line(Considered { rule, outcome }: &Considered) -> String {
    match outcome {
        Outcome::Won => format!("+ {rule}: decides\n"),
        Outcome::NotReached => format!("  {rule}: not reached, an entry before it decides\n"),
        Outcome::OtherProvider(Some(provider)) => format!("  {rule}: of provider {provider}\n"),
        Outcome::OtherProvider(None) => {
            format!("  {rule}: of no provider, for tokens of this server alone\n")
        }
        Outcome::Outranked => format!("  {rule}: not asked, a nearer rule names the project\n"),
        Outcome::Failed(failures) => failures
            .iter()
            .fold(format!("- {rule}\n"), |text, failure| {
                text + &format!("      {failure}\n")
            }),
    }
}

/// `acme/shop of gitlab, job 4711, ref main (branch, protected), environment production, user ann`.
fn job(job: &JobIdentity) -> String {
    let provider = printable(&job.provider);
    let mut parts = vec![format!("{} of {provider}", job.project.path)];
    let mut part = |what: &str, value: Option<&str>, more: Vec<&str>| {
        if let Some(value) = value {
            let more = match more.as_slice() {
                [] => String::new(),
                more => format!(" ({})", more.join(", ")),
            };
            parts.push(printable(&format!("{what} {value}{more}")));
        }
    };
    let protected = |protected| match protected {
        Some(true) => Some("protected"),
        Some(false) => Some("not protected"),
        None => None,
    };
    part("job", job.job_id.as_deref(), vec![]);
    let ref_type = job.ref_type.map(|kind| match kind {
        RefType::Branch => "branch",
        RefType::Tag => "tag",
    });
    let of_ref = ref_type.into_iter().chain(protected(job.ref_protected));
    part("ref", job.git_ref.as_deref(), of_ref.collect());
    if let Some(environment) = &job.environment {
        let tier = environment.tier.as_deref();
        let more = tier.into_iter().chain(protected(environment.protected));
        part("environment", environment.name.as_deref(), more.collect());
    }
    part("started by", job.pipeline_source.as_deref(), vec![]);
    let user = job.user.as_ref().map(|user| user.login.as_str());
    part("user", user, vec![]);
    parts.join(", ")
}

#[cfg(test)]
mod tests;
