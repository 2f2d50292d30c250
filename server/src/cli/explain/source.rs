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
pub(super) struct Sources<'a> {
    config: &'a Config,
    in_force: Snapshot,
    /// Stands for the file of whatever agent is asked about: its name and content.
    given: Option<(String, String)>,
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

impl<'a> Sources<'a> {
    pub(super) async fn open(
        file: Option<&Path>,
        config: &'a Config,
        store: &Store,
    ) -> anyhow::Result<Self> {
        let (directory, _changes) = app::follow::agents(store).await?;
        let read = |file: &Path| {
            let name = file.display().to_string();
            let text = std::fs::read_to_string(file).with_context(|| name.clone())?;
            Ok::<_, anyhow::Error>((name, text))
        };
        Ok(Self {
            config,
            in_force: crate::cli::known(config, &directory)?,
            given: file.map(read).transpose()?,
        })
    }

    /// # Errors
    /// The server would refuse the file that was given.
    pub(super) fn of(&self, agent: &Agent) -> anyhow::Result<Source> {
        let Some((name, text)) = &self.given else {
            return Ok(self.in_force(agent));
        };
        let repositories = &self.config.config_repositories;
        let rules = self.in_force.try_out(repositories, agent, text, name);
        Ok(Source {
            rules: Arc::new(rules.map_err(anyhow::Error::msg)?),
            file: Some(name.clone()),
            revision: None,
            problem: None,
            given: true,
        })
    }

    fn in_force(&self, agent: &Agent) -> Source {
        let found = self.in_force.rules(&agent.project, &agent.name);
        Source {
            rules: self.in_force.in_force(agent),
            file: found.map(|found| found.file.display().to_string()),
            revision: found.map(|found| found.revision.clone()),
            problem: match found {
                Some(found) => found.problem.clone(),
                None => self
                    .in_force
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
