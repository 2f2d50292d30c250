//! `explain`: may this job use this agent, as whom, and which line of which file says so.

use std::fmt::Write as _;
use std::path::PathBuf;

use ci_tunnel::protocol::identity::{Impersonation, KubernetesIdentity};

use super::job::JobArgs;
use crate::access::{Considered, Explanation, Outcome, Permit};

/// Arguments of `explain`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// The agent: <project path>:<agent name>, or its id
    #[arg(value_name = "AGENT")]
    pub agent: String,
    /// Judge by this configuration file instead of the one in force
    #[arg(long, value_name = "PATH")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub job: JobArgs,
}

/// The explanation as lines for a person, ending with a newline.
pub fn render(explanation: &Explanation) -> String {
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
            permitted(permit)
        ),
        Err(denied) => writeln!(
            text,
            "denied: {project} may not use {agent}\n  because: {denied}"
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

fn permitted(permit: &Permit) -> String {
    let mut text = format!("  by: {}\n  as: {}", permit.rule(), permit.access_as());
    match permit.identity() {
        KubernetesIdentity::Agent => text.push_str(", the agent's own service account"),
        KubernetesIdentity::Impersonate(identity) => text.push_str(&impersonation(identity)),
    }
    if let Some(namespace) = permit.default_namespace() {
        let _ = write!(text, "\n  default namespace: {namespace}");
    }
    text
}

fn impersonation(identity: &Impersonation) -> String {
    let mut text = format!("\n    user: {}", identity.username);
    if let Some(uid) = &identity.uid {
        let _ = write!(text, "\n    uid: {uid}");
    }
    for group in &identity.groups {
        let _ = write!(text, "\n    group: {group}");
    }
    for (key, value) in &identity.extra {
        let _ = write!(text, "\n    extra: {key} = {value}");
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Rules, explain};
    use crate::identity::{Agent, AgentId};

    fn rendered(config: &str, git_ref: &str) -> String {
        let agent = Agent {
            id: AgentId(7),
            project: "acme/infra".parse().unwrap(),
            name: "prod".parse().unwrap(),
        };
        let job = serde_json::json!({"provider": "local", "project": {"path": "acme/app"}, "ref": git_ref});
        let rules = Rules::parse(config, "config.yaml").unwrap();
        render(&explain(
            &serde_json::from_value(job).unwrap(),
            &agent,
            &rules,
        ))
    }

    const CONFIG: &str = "\
ci_access:
  projects:
  - id: acme/app
    refs: [main]
  - id: acme/app
    refs: ['v*']
    default_namespace: app
    access_as: {impersonate: {username: 'ref:{ref}', uid: u, groups: [g], extra: [{key: k, val: [v]}]}}
  instance: {}
";

    #[test]
    fn a_permit_tells_rule_and_identity() {
        let expected = "\
allowed: acme/app may use acme/infra:prod
  by: projects[1] (line 5, \"acme/app\")
  as: impersonate
    user: ref:v1
    uid: u
    group: g
    extra: k = v
  default namespace: app

rules that name the project, in the order they are asked:
  - projects[0] (line 3, \"acme/app\")
      refs: ref \"v1\" matches none of \"main\"
  + projects[1] (line 5, \"acme/app\"): decides
    instance (line 9): not asked, a nearer rule names the project
";
        assert_eq!(rendered(CONFIG, "v1"), expected);
    }

    #[test]
    fn a_denial_tells_why() {
        let text = rendered(CONFIG, "topic");
        let expected = "\
denied: acme/app may not use acme/infra:prod
  because: projects[0] (line 3, \"acme/app\") names the project acme/app, but ref \"topic\" matches none of \"main\"
";
        assert!(text.starts_with(expected), "{text}");
        assert_eq!(text.matches("\n  - ").count(), 2, "{text}");
        let none = rendered("", "main");
        assert!(
            none.ends_with("names the project acme/app, a group of it, or all projects\n"),
            "{none}"
        );
    }
}
