//! Whose project paths the files speak of: a path of one CI system is not the same path of another.

use std::sync::Arc;

use super::{Config, Error, Repository, Source};
use crate::access::Rules;
use crate::identity::LOCAL;

/// The provider of a repository, and those that entries may name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Realm {
    /// None: the paths are of jobs with tokens of this server alone.
    pub(super) provider: Option<String>,
    /// None: not known, all pass.
    known: Option<Arc<[String]>>,
}

impl Config {
    /// Settles whose paths each repository speaks of, given the names of the configured providers.
    ///
    /// # Errors
    /// A repository does not say although there are several, or names one that is not configured; or a project could be
    /// looked for at git remotes of two providers.
    pub fn bind<'a>(&mut self, providers: impl Iterator<Item = &'a str>) -> Result<(), Error> {
        let mut known: Vec<String> = providers.map(str::to_owned).collect();
        let only = match known.as_slice() {
            [only] => Some(only.clone()),
            _ => None,
        };
        let several = known.len() > 1;
        known.push(LOCAL.to_owned());
        for repository in &mut self.repositories {
            match &repository.provider {
                Some(provider) if !known.contains(provider) => {
                    return Err(Error::UnknownProvider {
                        repository: repository.name(),
                        provider: provider.clone(),
                        known: known.join(", "),
                    });
                }
                None if several => {
                    return Err(Error::NoProvider {
                        repository: repository.name(),
                        known: known.join(", "),
                    });
                }
                None => repository.provider.clone_from(&only),
                Some(_) => {}
            }
        }
        self.realm = Realm {
            provider: only.or_else(|| self.common()),
            known: Some(known.into()),
        };
        self.check_remotes()
    }

    /// Where the first remote has no such project, the second one's realm would be taken over by whoever makes a project
    /// of that name there.
    fn check_remotes(&self) -> Result<(), Error> {
        let remotes = || {
            let remotes = self
                .repositories
                .iter()
                .filter_map(|one| match &one.source {
                    Source::Git(remote) => Some((one, remote)),
                    Source::Directory(_) => None,
                });
            remotes.enumerate()
        };
        for (at, (one, remote)) in remotes() {
            for (_, (other, second)) in remotes().skip(at + 1) {
                if one.realm() != other.realm() && remote.overlaps(second) {
                    return Err(Error::Overlap {
                        one: one.name(),
                        other: other.name(),
                    });
                }
            }
        }
        Ok(())
    }

    /// The provider of all repositories, if it is one.
    fn common(&self) -> Option<String> {
        let mut providers = self.repositories.iter().map(|one| one.provider.as_ref());
        let first = providers.next().flatten()?;
        providers
            .all(|other| other == Some(first))
            .then(|| first.clone())
    }

    /// Whose project paths are meant where no repository says.
    pub fn provider(&self) -> Option<&str> {
        self.realm.provider.as_deref()
    }

    /// The realm of a repository, for the files in it.
    pub(super) fn realm(&self, repository: &Repository) -> Realm {
        Realm {
            provider: repository.provider.clone(),
            known: self.realm.known.clone(),
        }
    }

    /// The rules of an agent without a file: its configuration project is of the provider that all repositories are
    /// of. Where they differ it could be anybody's, and only local jobs have its implicit access.
    pub(super) fn default_rules(&self) -> Rules {
        Rules::default().of_provider(self.provider())
    }
}

impl Repository {
    fn realm(&self) -> &str {
        self.provider.as_deref().unwrap_or(LOCAL)
    }

    fn name(&self) -> String {
        match &self.source {
            Source::Directory(directory) => directory.display().to_string(),
            Source::Git(remote) => remote.url.to_string(),
        }
    }
}

impl Realm {
    /// The rules that `text`, the content of `file`, gives here.
    pub(super) fn parse(&self, text: &str, file: &str) -> Result<Rules, String> {
        let rules = Rules::parse(text, file).map_err(|error| error.to_string())?;
        for rule in rules.naming_provider() {
            if let (Some(known), Some(named)) = (&self.known, rule.provider())
                && !known.iter().any(|known| known == named)
            {
                // Passed over, an entry that narrows would leave the job to a wider one.
                return Err(format!(
                    "{file}: {rule}: provider {named:?} is not configured on this server: known are {}",
                    known.join(", ")
                ));
            }
        }
        Ok(rules.of_provider(self.provider.as_deref()))
    }
}
