//! An explanation as JSON, for programs. `docs/operations.md` has the fields.

use std::io::{self, Write};

use ci_tunnel::protocol::identity::KubernetesIdentity;
use serde_json::{Map, Value, json};

use super::past::Then;
use super::subject::Subject;
use super::{Report, text};
use crate::access::{Considered, Outcome, RuleRef, Tier};
use crate::audit::line::Kubernetes;
use crate::cli::output;

/// One object; without a single agent, one whose `agents` has such an object for each.
pub(super) fn print(
    out: &mut impl Write,
    subject: &Subject,
    reports: &[Report],
    single: bool,
) -> io::Result<()> {
    let mut page = Map::new();
    page.insert("job".to_owned(), json!(subject.job));
    if let Some(credential) = &subject.credential {
        let value = json!({
            "id": credential.who.token,
            "agent": credential.who.bound_agent,
            "expires_at": output::json_time(Some(credential.who.expires_at)),
            "problem": credential.problem.as_ref().map(ToString::to_string),
        });
        page.insert("credential".to_owned(), value);
    }
    match reports {
        [one] if single => page.extend(report(subject, one)),
        reports => {
            let all = reports
                .iter()
                .map(|one| Value::Object(report(subject, one)));
            page.insert("agents".to_owned(), all.collect());
        }
    }
    output::json(out, &Value::Object(page))
}

fn report(subject: &Subject, report: &Report) -> Map<String, Value> {
    let explanation = &report.explanation;
    let source = &report.source;
    let permit = explanation.decision.as_ref().ok();
    let denied = explanation.decision.as_ref().err();
    let rule = permit.map(|permit| permit.rule());
    let rule = rule.or_else(|| denied.and_then(|denied| denied.rule()));
    let considered: Vec<Value> = explanation.considered.iter().map(part).collect();
    let value = json!({
        "agent": {"id": explanation.agent.id, "name": explanation.agent.to_string()},
        "allowed": report.is_allowed(),
        "because": denied.map(ToString::to_string),
        "refused": report.refusals,
        "rule": rule.map(self::rule),
        "rules": {"file": source.file, "revision": source.revision},
        "access_as": permit.map(|permit| permit.access_as().as_str()),
        "identity": permit.map(|permit| Kubernetes::from(permit.identity())),
        "headers": permit.map(|permit| headers(permit.identity())),
        "default_namespace": permit.and_then(|permit| permit.default_namespace()),
        "considered": considered,
        "notes": report.notes,
        "request": subject.past.as_ref().map(|_| request(subject, report)),
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// What was decided for a past request.
fn request(subject: &Subject, report: &Report) -> Value {
    let Some(past) = &subject.past else {
        return Value::Null;
    };
    let line = &past.line;
    let allowed = match past.then() {
        Then::Allowed { .. } => Some(true),
        Then::Denied { .. } => Some(false),
        Then::Undecided => None,
    };
    json!({
        "id": line.request_id,
        "time": line.time,
        "allowed": allowed,
        "rule": line.rule,
        "revision": line.revision,
        "identity": line.kubernetes,
        "message": line.message,
        "differences": past.differences(report),
        "rules_changed": past.rules_changed(report),
    })
}

fn headers(identity: &KubernetesIdentity) -> Value {
    let KubernetesIdentity::Impersonate(who) = identity else {
        return json!([]);
    };
    let headers = who.headers().unwrap_or_default();
    let pair = |(name, value)| json!([text::spelled(&name), text::shown(&value)]);
    headers.into_iter().map(pair).collect()
}

fn part(Considered { rule, outcome }: &Considered) -> Value {
    let failures = |failures: &[crate::access::Failure]| -> Vec<Value> {
        let told = |failure: &crate::access::Failure| json!({"condition": failure.condition.name(), "reason": failure.reason});
        failures.iter().map(told).collect()
    };
    let (outcome, failures) = match outcome {
        Outcome::Won => ("decides", vec![]),
        Outcome::NotReached => ("not_reached", vec![]),
        Outcome::OtherProvider(_) => ("other_provider", vec![]),
        Outcome::Outranked => ("outranked", vec![]),
        Outcome::Failed(failed) => ("failed", failures(failed)),
    };
    json!({"rule": self::rule(rule), "outcome": outcome, "failures": failures})
}

fn rule(rule: &RuleRef) -> Value {
    let tier = match rule.tier() {
        Tier::Project => "projects",
        Tier::Implicit => "implicit",
        Tier::Group => "groups",
        Tier::Instance => "instance",
        Tier::Gitlab => "gitlab",
    };
    json!({
        "name": rule.to_string(),
        "tier": tier,
        "index": rule.index(),
        "id": rule.id(),
        "provider": rule.provider(),
        "line": rule.line(),
    })
}
