//! One project's repository: asked for news, read when there are any, and what is known of it told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ci_tunnel::config::value::SecretError;

use super::clone::{self, Content};
use super::environment;
use super::program::{self, Git};
use super::remote::Remote;
use super::state::{Known, State, too_large};
use super::tree::{self, Found};
use crate::access::Rules;
use crate::configrepo::realm::Realm;
use crate::configrepo::{AgentRules, file};
use crate::identity::{AgentName, ProjectPath};

/// A project and what is known of its repository.
#[derive(Debug)]
pub(super) struct Project {
    pub path: ProjectPath,
    pub remote: Arc<Remote>,
    pub realm: Realm,
    pub state: State,
    /// Why the last attempt to read it failed.
    pub unreachable: Option<String>,
    /// Holds the clone and the state.
    directory: PathBuf,
    /// Whether only what is needed is fetched: not from hosts that give no single files (git's protocol before version 2,
    /// say).
    filtered: bool,
}

/// How an attempt to read it ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    None,
    Read,
}

/// A file's rules and its content, or why there are none.
pub(super) type Parsed = Result<(Rules, Vec<u8>), String>;

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Clone(#[from] clone::Error),
    #[error("password: {0}")]
    Secret(#[from] SecretError),
}

impl Project {
    /// With what an earlier process left in `directory`. Blocks.
    pub(super) fn open(
        path: ProjectPath,
        remote: Arc<Remote>,
        realm: Realm,
        directory: PathBuf,
    ) -> Self {
        let url = remote.url.of(&path);
        let state = State::load(&directory, &realm, |name| label(&url, name));
        Self {
            path,
            remote,
            realm,
            state,
            unreachable: None,
            directory,
            filtered: true,
        }
    }

    /// Whether it was ever read.
    pub(super) fn is_known(&self, names: &[AgentName]) -> bool {
        names
            .iter()
            .all(|name| self.state.agents.contains_key(name))
    }

    /// Asks for news, and reads them; they are `likely` when a webhook told. After a failure all that was known stays.
    pub(super) async fn update(
        &mut self,
        names: &[AgentName],
        likely: bool,
    ) -> Result<News, Error> {
        let result = self.try_update(names, likely).await;
        let failure = result
            .as_ref()
            .err()
            .map(|error| format!("{}: {error}", self.url()));
        if failure != self.unreachable {
            match &failure {
                Some(problem) => {
                    tracing::error!(project = %self.path, problem, "configuration repository")
                }
                None => {
                    tracing::info!(project = %self.path, "configuration repository can be read again")
                }
            }
        }
        self.unreachable = failure;
        result
    }

    async fn try_update(&mut self, names: &[AgentName], likely: bool) -> Result<News, Error> {
        let git = self.git()?;
        clone::open(&git).await?;
        // To ask first is worth it only where the answer is no.
        if !likely && self.is_known(names) {
            match clone::head(&git, self.remote.branch.as_deref()).await {
                Ok(head) if self.state.knows(&head, names) => return Ok(News::None),
                // Whoever may push branches can make many that end like the one that is asked for. A fetch names it
                // exactly.
                Ok(_) | Err(clone::Error::Git(program::Error::TooMuch { .. })) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let (commit, agents) = match self.read(&git, names).await {
            Err(clone::Error::Unfetched(error)) if self.filtered => {
                tracing::info!(project = %self.path, %error, "the remote gives no single files: all are fetched");
                self.filtered = false;
                let git = self.git()?;
                clone::open(&git).await?;
                self.read(&git, names).await?
            }
            read => read?,
        };
        if self.state.knows(&commit, names) {
            return Ok(News::None);
        }
        self.state = State {
            commit: Some(commit),
            agents,
        };
        self.save().await;
        Ok(News::Read)
    }

    /// The files of these agents in the newest commit, over what was known of them.
    async fn read(
        &self,
        git: &Git,
        names: &[AgentName],
    ) -> Result<(String, BTreeMap<AgentName, Known>), clone::Error> {
        let read = self.try_read(git, names).await;
        if let Err(error) = &read
            && (self.unreachable.is_some() || matches!(error, clone::Error::Unfetched(_)))
        {
            // The second time something may be wrong with the clone; a new one costs little.
            let _ = clone::discard(git.directory()).await;
        }
        read
    }

    async fn try_read(
        &self,
        git: &Git,
        names: &[AgentName],
    ) -> Result<(String, BTreeMap<AgentName, Known>), clone::Error> {
        let branch = self.remote.branch.as_deref();
        let commit = clone::fetch(git, branch, self.filtered).await?;
        let files = tree::files(git, &commit, names).await?;
        let mut agents = BTreeMap::new();
        let mut oversized = false;
        for (name, found) in names.iter().zip(files) {
            let mut known = self.state.agents.get(name).cloned().unwrap_or_default();
            let label = label(&self.url(), name);
            if known.is(&found) {
                known.seen_in(&commit);
            } else {
                match found {
                    Found::Nothing => known = Known::default(),
                    Found::Refused { blob, path } => {
                        known.refuse(blob, format!("{label}: {path} is a link or not a file"));
                    }
                    Found::File { blob } => match clone::content(git, &blob).await? {
                        Content::TooLarge(size) => {
                            oversized = true;
                            known.refuse(blob, too_large(&label, size));
                        }
                        Content::Text(content) => {
                            known.read(blob, &commit, self.parsed(content, &label).await);
                        }
                    },
                }
                announce(&known, &label, &commit);
            }
            agents.insert(name.clone(), known);
        }
        if oversized {
            // Its size is known only once it is here.
            let _ = clone::discard(git.directory()).await;
        }
        Ok((commit, agents))
    }

    /// A large file takes a while, which others need not wait for.
    async fn parsed(&self, content: Vec<u8>, label: &str) -> Parsed {
        let (realm, label) = (self.realm.clone(), label.to_owned());
        let parse = move || Ok((file::parse(&realm, &content, &label)?, content));
        match tokio::task::spawn_blocking(parse).await {
            Ok(parsed) => parsed,
            Err(error) => std::panic::resume_unwind(Box::new(error)),
        }
    }

    fn git(&self) -> Result<Git, Error> {
        let environment =
            environment::of(&self.remote, &self.url(), &self.directory, self.filtered)?;
        let clone = self.directory.join("repository.git");
        Ok(Git::new(&clone, environment, self.remote.timeout))
    }

    async fn save(&self) {
        let (state, directory) = (self.state.clone(), self.directory.clone());
        let saved = tokio::task::spawn_blocking(move || state.save(&directory)).await;
        if let Ok(Err(error)) = saved {
            let directory = self.directory.display();
            tracing::error!(%error, %directory, "what was read is lost with this process");
        }
    }

    pub(super) fn url(&self) -> String {
        self.remote.url.of(&self.path)
    }

    /// What holds for an agent of this project; none: it has no file.
    pub(super) fn rules(&self, name: &AgentName) -> Option<AgentRules> {
        let unread = Known::default();
        let known = self.state.agents.get(name);
        let never = || {
            self.unreachable
                .clone()
                .or_else(|| Some("not read yet".to_owned()))
        };
        let (known, problem) = match known {
            None => (&unread, never()),
            Some(known) if known.blob.is_none() && known.problem.is_none() => return None,
            Some(known) => (known, join(&known.problem, &self.unreachable)),
        };
        let good = known.good.as_ref();
        Some(AgentRules {
            project: self.path.clone(),
            name: name.clone(),
            rules: good.map_or_else(|| Arc::new(Rules::nobody()), |good| Arc::clone(&good.rules)),
            file: label(&self.url(), name).into(),
            revision: good
                .map(|good| short(&good.commit).to_owned())
                .unwrap_or_default(),
            commit: good.map(|good| good.commit.clone()),
            provider: self.realm.provider.clone(),
            problem,
        })
    }
}

fn announce(known: &Known, label: &str, commit: &str) {
    match (&known.problem, &known.good) {
        (Some(problem), None) => tracing::error!(
            file = label,
            commit,
            problem,
            "agent configuration: nobody has access"
        ),
        (Some(problem), Some(good)) => tracing::error!(
            file = label,
            commit,
            problem,
            revision = good.commit,
            "agent configuration: the last good rules stay in force"
        ),
        (None, Some(good)) => {
            for warning in good.rules.warnings() {
                tracing::warn!(file = label, warning, "agent configuration");
            }
            tracing::info!(
                file = label,
                revision = commit,
                "agent configuration is in force"
            );
        }
        (None, None) => tracing::info!(file = label, commit, "agent has no configuration"),
    }
}

/// How an agent's file is called in messages.
fn label(url: &str, name: &AgentName) -> String {
    format!("{url}:{}", tree::file(name))
}

fn join(one: &Option<String>, other: &Option<String>) -> Option<String> {
    match (one, other) {
        (Some(one), Some(other)) => Some(format!("{one}; {other}")),
        (one, other) => one.as_ref().or(other.as_ref()).cloned(),
    }
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}
