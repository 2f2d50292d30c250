//! The rules that an agent is judged by, and where they come from.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use crate::access::Rules;
use crate::app;
use crate::config::Config;
use crate::configrepo::Snapshot;
use crate::identity::Agent;
use crate::store::Store;

/// The rules of all agents.
#[derive(Debug)]
pub(super) enum Sources {
    /// One file for whatever agent is asked about.
    File(Source),
    InForce(Arc<Snapshot>),
}

/// The rules of one agent.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) rules: Arc<Rules>,
    /// Without one the rules are the default.
    pub(super) file: Option<String>,
    /// That of a file in force.
    pub(super) revision: Option<String>,
    problem: Option<String>,
    given: bool,
}

impl Sources {
    pub(super) async fn open(
        file: Option<&Path>,
        config: &Config,
        store: &Store,
    ) -> anyhow::Result<Self> {
        let Some(file) = file else {
            let (directory, _changes) = app::follow::agents(store).await?;
            let known = crate::cli::known(config, &directory)?;
            return Ok(Self::InForce(Arc::new(known)));
        };
        let name = file.display().to_string();
        let provider = config.config_repositories.provider();
        let text = std::fs::read_to_string(file).with_context(|| name.clone())?;
        Ok(Self::File(Source {
            rules: Arc::new(Rules::parse(&text, &name)?.of_provider(provider)),
            file: Some(name),
            revision: None,
            problem: None,
            given: true,
        }))
    }

    pub(super) fn of(&self, agent: &Agent) -> Source {
        let snapshot = match self {
            Self::File(source) => return source.clone(),
            Self::InForce(snapshot) => snapshot,
        };
        let found = snapshot.rules(&agent.project, &agent.name);
        Source {
            rules: snapshot.in_force(agent),
            file: found.map(|found| found.file.display().to_string()),
            revision: found.map(|found| found.revision.clone()),
            problem: match found {
                Some(found) => found.problem.clone(),
                None => snapshot
                    .hidden(agent)
                    .map(|unread| format!("{}: {}", unread.directory.display(), unread.problem)),
            },
            given: false,
        }
    }
}

impl Source {
    /// Whether these are the rules of the server, and no file that was given to try.
    pub(super) fn is_in_force(&self) -> bool {
        !self.given
    }

    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(problem) = &self.problem {
            notes.push(format!(
                "{problem}. A server that has read a good version of the file before keeps that in force"
            ));
        }
        if self.file.is_none() {
            notes.push(
                "no configuration file of the agent is known: jobs of its own project alone may use it, and nobody \
                 while its repository has not been read"
                    .to_owned(),
            );
        }
        notes.extend(self.rules.warnings().iter().cloned());
        notes
    }
}
