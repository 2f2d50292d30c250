//! What GitLab itself lets a job use, and as whom: the entries that GitLab chose by its own copy of the configuration.
//!
//! GitLab has applied its `environments` and `protected_branches_only` before it lists an agent. What is left of an entry
//! is who the job becomes, read as strictly as a file's: what is not understood is a denial, never the agent's rights.

use std::collections::HashMap;

use ci_tunnel::config::document::{Invalid, Node, Place, Value};
use serde::{Deserialize, Serialize};

use super::decide::{self, Considered, Denied, Explanation, Outcome};
use super::entry::RuleRef;
use super::impersonate::Source;
use super::parse;
use super::permit::{AccessAs, Permit};
use super::rules::Rules;
use crate::identity::{Agent, AgentId, JobIdentity, ProjectPath};

/// Who decides on a job that GitLab has vouched for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authorize {
    /// GitLab alone: its answer lists the agent, and its entry says as whom the job acts.
    Gitlab,
    /// The agent's configuration on this server alone.
    Config,
    /// Both must let the job in; as whom it acts is said by the configuration on this server.
    #[default]
    Both,
}

/// What GitLab lets one job use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    pub authorize: Authorize,
    /// Of all that GitLab listed, the agents that are registered here under GitLab's ids, each with its entry; and those
    /// that are registered otherwise, so that a denial can say so.
    pub agents: HashMap<AgentId, Grant>,
}

/// GitLab's word on one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    Listed(Listed),
    /// The id was assigned here: that GitLab's agent has the same one means nothing.
    NotGivenHere,
}

/// An agent that GitLab lists for a job, by GitLab's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The project that GitLab says the agent is configured in.
    config_project: ProjectPath,
    config_project_id: u64,
    entry: Result<Entry, String>,
}

/// What GitLab stored of the entry that it chose.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    source: Source,
    default_namespace: Option<String>,
}

impl Listed {
    /// Reads the entry as GitLab answers it: `configuration`, absent for an agent without any.
    pub fn read(
        config_project: ProjectPath,
        config_project_id: u64,
        configuration: Option<&serde_json::Value>,
    ) -> Self {
        let node = configuration.map_or(Value::Null, value);
        let node = Node {
            line: 0,
            column: 0,
            value: node,
        };
        let entry = entry(&Place::root(&node));
        Self {
            config_project,
            config_project_id,
            entry: entry.map_err(|Invalid { path, message, .. }| format!("{path}: {message}")),
        }
    }
}

fn entry(place: &Place<'_>) -> Result<Entry, Invalid> {
    const KNOWN: &[&str] = &[
        "access_as",
        "annotations",
        "default_namespace",
        "environments",
        "protected_branches_only",
        "resource_management",
    ];
    let (mut source, mut default_namespace) = (Source::Agent, None);
    for (key, value) in place.entries()? {
        match key {
            "access_as" => source = parse::access_as(&value)?,
            "default_namespace" if value.is_null() => {}
            "default_namespace" => default_namespace = Some(parse::namespace(&value)?),
            key if KNOWN.contains(&key) => {}
            _ => return Err(value.unknown_key(KNOWN)),
        }
    }
    Ok(Entry {
        source,
        default_namespace: default_namespace.filter(|name| !name.is_empty()),
    })
}

/// JSON as the tree that files become; GitLab answers on no line.
fn value(json: &serde_json::Value) -> Value {
    let node = |json| Node {
        line: 0,
        column: 0,
        value: value(json),
    };
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(_) => Value::Number,
        serde_json::Value::String(text) => Value::Text(text.clone()),
        serde_json::Value::Array(items) => Value::List(items.iter().map(node).collect()),
        serde_json::Value::Object(entries) => {
            let entry = |(key, json)| {
                let key = Node {
                    line: 0,
                    column: 0,
                    value: Value::Text(String::clone(key)),
                };
                (key, node(json))
            };
            Value::Map(entries.iter().map(entry).collect())
        }
    }
}

impl Granted {
    /// Decides whether `job` may use `agent`.
    pub fn decide(
        &self,
        job: &JobIdentity,
        agent: &Agent,
        rules: &Rules,
    ) -> Result<Permit, Denied> {
        match self.authorize {
            Authorize::Config => decide::decide(job, agent, rules),
            Authorize::Gitlab => permit(self.listed(agent)?, job, agent),
            Authorize::Both => {
                let config_project = self.listed(agent)?.config_project_id;
                decide::decide_knowing(job, agent, rules, Some(config_project))
            }
        }
    }

    /// Decides as [`Self::decide`] does and keeps the reasons.
    pub fn explain(&self, job: &JobIdentity, agent: &Agent, rules: &Rules) -> Explanation {
        let decision = self.decide(job, agent, rules);
        let considered = match self.authorize {
            Authorize::Config | Authorize::Both => decide::explain(job, agent, rules).considered,
            Authorize::Gitlab => decision
                .iter()
                .map(|permit| Considered {
                    rule: permit.rule().clone(),
                    outcome: Outcome::Won,
                })
                .collect(),
        };
        Explanation {
            agent: agent.clone(),
            project: job.project.path.clone(),
            decision,
            considered,
        }
    }

    fn listed(&self, agent: &Agent) -> Result<&Listed, Denied> {
        let id = agent.id;
        match self.agents.get(&id) {
            None => Err(Denied::NotListed { agent: id }),
            Some(Grant::NotGivenHere) => Err(Denied::IdNotGiven { agent: id }),
            Some(Grant::Listed(listed)) if listed.config_project != agent.project => {
                Err(Denied::OtherConfigProject {
                    agent: id,
                    theirs: listed.config_project.clone(),
                    ours: agent.project.clone(),
                })
            }
            Some(Grant::Listed(listed)) => Ok(listed),
        }
    }
}

fn permit(listed: &Listed, job: &JobIdentity, agent: &Agent) -> Result<Permit, Denied> {
    let rule = RuleRef::gitlab(agent.id);
    let entry = listed.entry.as_ref().map_err(|reason| Denied::Unreadable {
        rule: rule.clone(),
        reason: reason.clone(),
    })?;
    let identity = entry
        .source
        .identity(job, agent, Some(listed.config_project_id));
    let identity = identity.map_err(|reason| Denied::Identity {
        rule: rule.clone(),
        reason,
    })?;
    Ok(Permit::new(
        rule,
        AccessAs::from(&entry.source),
        identity,
        entry.default_namespace.clone(),
    ))
}

#[cfg(test)]
mod tests;
