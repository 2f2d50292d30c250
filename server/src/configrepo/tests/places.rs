//! Several places together: which wins, what is known at the next start, and that changes arrive.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::{GOOD, agent, open, read, reopen, write};
use crate::access::{Rules, decide};
use crate::agents::directory::Agents;
use crate::configrepo::kept::Kept;
use crate::configrepo::layer::Layers;
use crate::configrepo::{Config, Error, Place, Repository, Source, Watcher, known, watch};
use crate::identity::{Agent, AgentId};
use crate::metrics::Metrics;

pub(super) fn config(roots: &[&Path]) -> Config {
    let repositories = roots.iter().map(|root| Repository {
        source: Source::Directory(root.to_path_buf()),
        provider: Some("gitlab".to_owned()),
    });
    let mut config = Config::default();
    config.repositories.extend(repositories);
    config
}

pub(super) fn place(state_dir: &TempDir) -> Place {
    Place {
        state_dir: state_dir.path().to_owned(),
        metrics: Metrics::unread(),
    }
}

#[test]
fn the_first_of_several_roots_wins() {
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    write(first.path(), "acme/infra", "prod", GOOD);
    write(second.path(), "acme/infra", "prod", "ci_access: {}");
    write(second.path(), "acme/infra", "test", GOOD);
    let state = TempDir::new().unwrap();
    let snapshot = known(
        &config(&[first.path(), second.path()]),
        &place(&state),
        &Agents::default(),
    )
    .unwrap();
    assert!(
        agent(&snapshot, "acme/infra", "prod")
            .unwrap()
            .file
            .starts_with(first.path())
    );
    assert!(agent(&snapshot, "acme/infra", "test").is_some());
}

#[test]
fn the_last_good_rules_are_there_at_the_next_start() {
    let (root, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    write(root.path(), "acme/infra", "prod", GOOD);
    let good = read(&mut reopen(root.path(), state.path()));
    let good = agent(&good, "acme/infra", "prod").unwrap();
    write(root.path(), "acme/infra", "prod", "ci_access: [");
    let snapshot = read(&mut reopen(root.path(), state.path()));
    let kept = agent(&snapshot, "acme/infra", "prod").unwrap();
    assert!(kept.problem.is_some());
    assert_eq!(kept.revision, good.revision);

    // Not those of a file that is gone.
    fs::remove_dir_all(root.path().join("acme")).unwrap();
    assert_eq!(
        read(&mut reopen(root.path(), state.path())).iter().count(),
        0
    );
    write(root.path(), "acme/infra", "prod", "ci_access: [");
    let snapshot = read(&mut reopen(root.path(), state.path()));
    assert_eq!(agent(&snapshot, "acme/infra", "prod").unwrap().revision, "");
}

#[test]
fn kept_content_that_was_cut_short_is_not_used() {
    let state = TempDir::new().unwrap();
    let mut kept = Kept::open(state.path().to_owned()).unwrap();
    kept.store("a", b"one");
    kept.store("a", b"two");
    kept.store("b", b"three");
    let kept = Kept::open(state.path().to_owned()).unwrap();
    assert_eq!(kept.load("a").unwrap(), b"two");
    for file in fs::read_dir(state.path()).unwrap() {
        fs::write(file.unwrap().path(), "t").unwrap();
    }
    assert_eq!(
        (kept.load("a"), kept.load("b"), kept.load("c")),
        (None, None, None)
    );
    assert_eq!(fs::read_dir(state.path()).unwrap().count(), 2);
}

#[test]
fn until_a_repository_was_read_nobody_is_let_in() {
    let yaml = "{url: 'https://h/{project}.git', projects: [acme]}";
    let remote = ci_tunnel::config::load::from_str(yaml, "f.yaml").unwrap();
    let layers = Layers::new([Some(Arc::new(remote)), None].into_iter(), Rules::default());
    let root = TempDir::new().unwrap();
    write(root.path(), "acme/infra", "prod", GOOD);
    write(root.path(), "other/infra", "prod", GOOD);
    layers.layer(1).replace(open(root.path()).read());
    let registered = |project: &str| Agent {
        id: AgentId(1),
        project: project.parse().unwrap(),
        name: "prod".parse().unwrap(),
    };
    let own = json!({"provider": "local", "project": {"path": "acme/infra"}});
    let own = serde_json::from_value(own).unwrap();
    let (agent, other) = (registered("acme/infra"), registered("other/infra"));
    let snapshot = layers.snapshot();
    assert!(decide(&own, &agent, &snapshot.in_force(&agent)).is_err());
    assert!(snapshot.rules(&other.project, &other.name).is_some());
    assert_eq!(snapshot.iter().count(), 1);
    // It has no file, so the next place counts.
    layers.layer(0).put(&agent.project, &agent.name, None);
    let snapshot = layers.snapshot();
    assert!(decide(&own, &agent, &snapshot.in_force(&agent)).is_ok());
    assert_eq!(snapshot.iter().count(), 2);
    layers.layer(0).forget(&agent.project, &agent.name);
    assert!(
        layers
            .snapshot()
            .rules(&agent.project, &agent.name)
            .is_none()
    );
}

#[tokio::test]
async fn the_end_of_a_task_is_noticed() {
    let root = TempDir::new().unwrap();
    let state = TempDir::new().unwrap();
    let (_agents, receiver) = tokio::sync::watch::channel(Arc::default());
    let (_snapshots, watcher) = watch(&config(&[root.path()]), &place(&state), receiver)
        .await
        .unwrap();
    assert!(watcher.is_alive());
    let dead = Watcher::of(tokio::spawn(async { panic!("as a bug would") }));
    tokio::time::timeout(Duration::from_secs(30), async {
        while dead.is_alive() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_change_arrives() {
    let root = TempDir::new().unwrap();
    write(root.path(), "acme/infra", "prod", GOOD);
    let state = TempDir::new().unwrap();
    let (_agents, receiver) = tokio::sync::watch::channel(Arc::default());
    let (mut snapshots, _watcher) = watch(&config(&[root.path()]), &place(&state), receiver)
        .await
        .unwrap();
    let provider = agent(&snapshots.borrow(), "acme/infra", "prod")
        .unwrap()
        .provider
        .clone();
    assert_eq!(provider.as_deref(), Some("gitlab"));
    let revision = agent(&snapshots.borrow(), "acme/infra", "prod")
        .unwrap()
        .revision
        .clone();
    write(root.path(), "acme/infra", "prod", "ci_access: {}");
    write(root.path(), "acme/new/deep", "x", "");
    let changed = snapshots.wait_for(|snapshot| {
        let prod = agent(snapshot, "acme/infra", "prod").unwrap();
        prod.revision != revision && agent(snapshot, "acme/new/deep", "x").is_some()
    });
    tokio::time::timeout(Duration::from_secs(30), changed)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_missing_directory_is_an_error() {
    let root = TempDir::new().unwrap();
    let state = TempDir::new().unwrap();
    let config = config(&[root.path()]);
    drop(root);
    let (_agents, receiver) = tokio::sync::watch::channel(Arc::default());
    let watched = watch(&config, &place(&state), receiver).await;
    assert!(matches!(watched, Err(Error::Directory { .. })));
}
