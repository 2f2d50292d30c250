//! Whose project paths a repository and its files speak of.

use tempfile::TempDir;

use super::places::{config, place};
use super::*;
use crate::agents::directory::Agents;
use crate::configrepo::{Config, Error, Repository, Source, known};

fn bound(repositories: &[Option<&str>], providers: &[&str]) -> Result<Config, String> {
    let mut config = Config::default();
    config
        .repositories
        .extend(repositories.iter().map(|provider| Repository {
            source: Source::Directory("/etc/agents".into()),
            provider: provider.map(str::to_owned),
        }));
    let bound = config.bind(providers.iter().copied());
    bound
        .map(|()| config)
        .map_err(|error: Error| error.to_string())
}

#[test]
fn a_repository_speaks_of_one_provider() {
    let provider = |config: Config| config.repositories[0].provider.clone();
    assert_eq!(bound(&[None], &[]).map(provider), Ok(None));
    assert_eq!(
        bound(&[None], &["github"]).map(provider),
        Ok(Some("github".to_owned()))
    );
    assert_eq!(
        bound(&[Some("local")], &["github"]).map(provider),
        Ok(Some("local".to_owned()))
    );
    let missing = bound(&[Some("github"), None], &["gitlab", "github"]).unwrap_err();
    assert!(
        missing.contains("/etc/agents: provider is missing")
            && missing.contains("gitlab, github, local"),
        "{missing}"
    );
    let unknown = bound(&[Some("gitlap")], &["gitlab"]).unwrap_err();
    assert!(
        unknown.contains("/etc/agents: provider \"gitlap\" is not configured"),
        "{unknown}"
    );
}

#[test]
fn an_agent_without_a_file_is_of_the_provider_that_all_repositories_are_of() {
    let provider = |config: Config| config.provider().map(str::to_owned);
    let both = ["gitlab", "github"];
    let named = |name: &str| Ok(Some(name.to_owned()));
    assert_eq!(bound(&[], &["gitlab"]).map(provider), named("gitlab"));
    assert_eq!(
        bound(&[Some("github"); 2], &both).map(provider),
        named("github")
    );
    assert_eq!(
        bound(&[Some("github"), Some("gitlab")], &both).map(provider),
        Ok(None)
    );
    assert_eq!(bound(&[], &both).map(provider), Ok(None));
}

#[test]
fn rules_are_for_jobs_of_the_repositorys_provider() {
    let root = TempDir::new().unwrap();
    write(root.path(), "acme/infra", "prod", GOOD);
    write(
        root.path(),
        "acme/infra",
        "typo",
        "ci_access: {projects: [{id: acme/app, provider: gitlap}]}",
    );
    let mut config = config(&[root.path()]);
    config.repositories[0].provider = Some("gitlab".to_owned());
    config.bind(["gitlab", "github"].into_iter()).unwrap();
    let snapshot = known(
        &config,
        &place(&TempDir::new().unwrap()),
        &Agents::default(),
    )
    .unwrap();
    let decided = |name: &str, provider: &str, project: &str| {
        let agent = Agent {
            id: AgentId(1),
            project: "acme/infra".parse().unwrap(),
            name: name.parse().unwrap(),
        };
        let job = json!({"provider": provider, "project": {"path": project}});
        let job = serde_json::from_value(job).unwrap();
        decide(&job, &agent, &snapshot.in_force(&agent)).is_ok()
    };
    for name in ["prod", "without-a-file"] {
        assert!(decided(name, "gitlab", "acme/infra"));
        assert!(decided(name, "local", "acme/infra"));
        assert!(!decided(name, "github", "acme/infra"));
    }
    assert!(decided("prod", "gitlab", "acme/app"));
    assert!(!decided("prod", "github", "acme/app"));
    let typo = agent(&snapshot, "acme/infra", "typo").unwrap();
    assert!(!decided("typo", "local", "acme/app"));
    let problem = typo.problem.as_deref().unwrap();
    assert!(
        problem.contains("line 1, \"acme/app\" of gitlap)"),
        "{problem}"
    );
    assert_eq!(typo.provider.as_deref(), Some("gitlab"));
}
