//! An agent named on the command line: `<project path>:<agent name>`, or its id.

use std::str::FromStr;

use crate::identity::{Agent, AgentId, AgentName, ProjectPath};
use crate::store::{self, Registration, Store};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentSelector {
    Id(AgentId),
    Name(NewAgent),
}

/// An agent by its name; the form that a new one needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAgent {
    pub project: ProjectPath,
    pub name: AgentName,
}

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("no agent {asked}: {}", hint(similar))]
    Unknown { asked: String, similar: Vec<String> },
}

/// So many names are told, and no more.
const MAX_SIMILAR: usize = 3;
/// From 0 (nothing in common) to 1 (the same).
const SIMILAR: f64 = 0.85;

impl AgentSelector {
    /// # Errors
    /// There is no such agent, or the store fails.
    pub async fn find(&self, store: &Store) -> Result<Registration, Error> {
        let (found, asked) = match self {
            Self::Id(id) => (store.agent(*id).await?, id.to_string()),
            Self::Name(NewAgent { project, name }) => (
                store.agent_named(project, name).await?,
                format!("{project}:{name}"),
            ),
        };
        match found {
            Some(found) => Ok(found),
            None => Err(Error::Unknown {
                similar: self.similar(store).await?,
                asked,
            }),
        }
    }

    /// The registered agents whose names are most like this one.
    async fn similar(&self, store: &Store) -> Result<Vec<String>, store::Error> {
        let Self::Name(asked) = self else {
            return Ok(Vec::new());
        };
        let likeness = |agent: &Agent| {
            if agent.project == asked.project || agent.name == asked.name {
                return 1.0;
            }
            let asked = format!("{}:{}", asked.project, asked.name);
            strsim::jaro_winkler(&asked.to_lowercase(), &agent.to_string().to_lowercase())
        };
        let mut similar: Vec<(f64, String)> = store
            .agents()
            .await?
            .iter()
            .map(|known| (likeness(&known.agent), known.agent.to_string()))
            .filter(|(likeness, _)| *likeness >= SIMILAR)
            .collect();
        similar.sort_by(|(a, one), (b, other)| b.total_cmp(a).then_with(|| one.cmp(other)));
        similar.truncate(MAX_SIMILAR);
        Ok(similar.into_iter().map(|(_, name)| name).collect())
    }
}

fn hint(similar: &[String]) -> String {
    if similar.is_empty() {
        "see `agent list`".to_owned()
    } else {
        format!("is it {}? See `agent list`", similar.join(" or "))
    }
}

impl FromStr for AgentSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(':') {
            return text.parse().map(Self::Name);
        }
        text.parse().map(Self::Id).map_err(|_| {
            format!("{text:?} names no agent: write <project path>:<agent name>, or its id")
        })
    }
}

impl FromStr for NewAgent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (project, name) = text
            .split_once(':')
            .ok_or_else(|| format!("{text:?} is not of the form <project path>:<agent name>"))?;
        Ok(Self {
            project: project
                .parse()
                .map_err(|error: crate::identity::Invalid| error.to_string())?,
            name: name
                .parse()
                .map_err(|error: crate::identity::Invalid| error.to_string())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_ids() {
        assert_eq!("7".parse(), Ok(AgentSelector::Id(AgentId(7))));
        let named: NewAgent = "acme/infra:prod".parse().unwrap();
        assert_eq!(
            (named.project.as_str(), named.name.as_str()),
            ("acme/infra", "prod")
        );
        assert_eq!("acme/infra:prod".parse(), Ok(AgentSelector::Name(named)));
        for wrong in [
            "",
            "prod",
            "0",
            "acme/infra",
            ":prod",
            "acme/infra:",
            "acme//infra:prod",
            "acme/infra:Prod",
            "a:b:c",
        ] {
            assert!(wrong.parse::<AgentSelector>().is_err(), "{wrong}");
        }
    }
}
