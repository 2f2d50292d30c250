//! Parts of a directory that can not be read: whose agents may have files there that nobody knows.

use std::path::{Path, PathBuf};

use super::key;
use crate::identity::{AgentName, ProjectPath};

/// A directory below a root, or the root, that could not be read. What was known below it stays in force; of everything
/// else there it is not known whom its file lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    pub directory: PathBuf,
    pub problem: String,
    whose: Whose,
}

/// Whose files may be there, in the letters of [`key`].
#[derive(Debug, Clone, PartialEq, Eq)]
enum Whose {
    Everybody,
    /// Of the project of this path, or of any below the group.
    Group(String),
    Project(String),
    Agent(String),
}

impl Unread {
    pub(super) fn new(root: &Path, directory: PathBuf, problem: String) -> Self {
        let whose = directory
            .strip_prefix(root)
            .ok()
            .and_then(Path::to_str)
            .map_or(Whose::Everybody, Whose::of);
        Self {
            directory,
            problem,
            whose,
        }
    }

    /// Whether an agent's file may be there; `key` is that of the agent.
    pub(super) fn may_hide(&self, project: &ProjectPath, key: &str) -> bool {
        let project = project.key();
        match &self.whose {
            Whose::Everybody => true,
            Whose::Group(path) => project
                .strip_prefix(path.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Whose::Project(path) => project == *path,
            Whose::Agent(agent) => key == agent,
        }
    }
}

impl Whose {
    /// `below` is the way from the root.
    fn of(below: &str) -> Self {
        let below = below.to_lowercase();
        let Some((project, rest)) = below.split_once("/.gitlab") else {
            return if below.is_empty() {
                Self::Everybody
            } else {
                Self::Group(below)
            };
        };
        let agent = rest.strip_prefix("/agents/");
        let agent = agent.and_then(|name| name.split('/').next()?.parse::<AgentName>().ok());
        match (agent, project.parse::<ProjectPath>()) {
            (Some(agent), Ok(project)) => Self::Agent(key(&project, &agent)),
            _ => Self::Project(project.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_what_may_be_there_and_nothing_else() {
        let hides = |directory: &str, agent: &str| {
            let unread = Unread::new(Path::new("/r"), directory.into(), "denied".to_owned());
            let (project, name) = agent.split_once(':').unwrap();
            let project = project.parse().unwrap();
            unread.may_hide(&project, &key(&project, &name.parse().unwrap()))
        };
        for (directory, agent, hidden) in [
            ("/r", "acme/infra:prod", true),
            ("/r/Acme", "acme/infra:prod", true),
            ("/r/acme/infra", "Acme/Infra:prod", true),
            ("/r/acme/infra", "acme/infra/below:prod", true),
            ("/r/acme/infra", "acme/infra-2:prod", false),
            ("/r/acme/infra/.gitlab", "acme/infra:prod", true),
            ("/r/acme/infra/.gitlab/agents", "acme/infra:prod", true),
            ("/r/acme/infra/.gitlab/agents", "acme/infra/x:prod", false),
            ("/r/acme/infra/.gitlab/agents/prod", "acme/infra:prod", true),
            (
                "/r/acme/infra/.gitlab/agents/prod",
                "acme/infra:test",
                false,
            ),
        ] {
            assert_eq!(hides(directory, agent), hidden, "{directory} {agent}");
        }
    }
}
