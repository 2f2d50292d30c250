//! Real directories: what is found, what is kept, what is refused, and that changes arrive.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;
use serde_json::json;
use tempfile::TempDir;

use super::dir::{Directory, GONE_AFTER};
use super::kept::Kept;
use super::{
    AgentRules, Config, Error, Place, Repository, Snapshot, Source, Watcher, known, watch,
};
use crate::access::{MAX_FILE, decide};
use crate::agents::directory::Agents;
use crate::identity::{Agent, AgentId};
use crate::metrics::Metrics;

const GOOD: &str = "ci_access:\n  projects:\n  - id: acme/app\n";

fn write(root: &Path, project: &str, name: &str, content: &str) {
    let directory = root.join(project).join(".gitlab/agents").join(name);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("config.yaml"), content).unwrap();
}

fn open(root: &Path) -> Directory {
    Directory::open(root.to_owned(), None, Kept::default()).unwrap()
}

/// With what it keeps in `state`.
fn reopen(root: &Path, state: &Path) -> Directory {
    let kept = Kept::open(state.to_owned()).unwrap();
    Directory::open(root.to_owned(), None, kept).unwrap()
}

fn read(directory: &mut Directory) -> Snapshot {
    Snapshot {
        agents: directory.read(),
    }
}

fn read_at(directory: &mut Directory, now: Instant) -> Snapshot {
    Snapshot {
        agents: directory.read_at(now),
    }
}

fn config(roots: &[&TempDir]) -> Config {
    let repository = |root: &&TempDir| Repository {
        source: Source::Directory(root.path().to_owned()),
        provider: Some("gitlab".to_owned()),
    };
    Config(roots.iter().map(repository).collect())
}

fn place(state_dir: &TempDir) -> Place {
    Place {
        state_dir: state_dir.path().to_owned(),
        metrics: Metrics::new(&mut Registry::default()),
    }
}

fn agent<'a>(snapshot: &'a Snapshot, project: &str, name: &str) -> Option<&'a AgentRules> {
    snapshot.rules(&project.parse().unwrap(), &name.parse().unwrap())
}

#[test]
fn files_are_found_at_any_depth_and_by_any_case() {
    let root = TempDir::new().unwrap();
    write(root.path(), "Acme/infra", "prod", GOOD);
    write(root.path(), "a/b/c/d", "x", "");
    write(root.path(), "acme/infra/src/other", "hidden", GOOD);
    fs::create_dir_all(root.path().join("acme/none/.gitlab/agents/empty")).unwrap();
    let snapshot = read(&mut open(root.path()));
    let found = agent(&snapshot, "acme/INFRA", "prod").unwrap();
    assert_eq!(
        (found.project.as_str(), found.revision.len(), &found.problem),
        ("Acme/infra", 12, &None)
    );
    assert!(agent(&snapshot, "a/b/c/d", "x").is_some());
    assert!(agent(&snapshot, "acme/none", "empty").is_none());
    assert_eq!(snapshot.iter().count(), 3);
}

#[test]
fn a_bad_file_keeps_the_last_good_rules() {
    let root = TempDir::new().unwrap();
    write(root.path(), "acme/infra", "prod", GOOD);
    let mut directories = open(root.path());
    let good = read(&mut directories);
    let good = agent(&good, "acme/infra", "prod").unwrap();
    for bad in [
        "ci_access: [",
        "ci_acess: {}",
        &"#".repeat(MAX_FILE + 1),
        "\u{0}",
    ] {
        write(root.path(), "acme/infra", "prod", bad);
        let snapshot = read(&mut directories);
        let kept = agent(&snapshot, "acme/infra", "prod").unwrap();
        assert!(
            kept.problem.as_ref().unwrap().contains("config.yaml"),
            "{kept:?}"
        );
        assert!(Arc::ptr_eq(&kept.rules, &good.rules));
        assert_eq!(kept.revision, good.revision);
    }
    write(root.path(), "acme/infra", "prod", GOOD);
    let snapshot = read(&mut directories);
    assert_eq!(
        agent(&snapshot, "acme/infra", "prod").unwrap().problem,
        None
    );
}

#[test]
fn a_file_that_was_never_good_lets_nobody_in() {
    let root = TempDir::new().unwrap();
    write(root.path(), "acme/infra", "prod", "ci_access: [");
    let snapshot = read(&mut open(root.path()));
    let found = agent(&snapshot, "acme/infra", "prod").unwrap();
    assert!(found.problem.is_some() && found.revision.is_empty());
    let job = json!({"provider": "local", "project": {"path": "acme/infra"}});
    let agent = Agent {
        id: AgentId(1),
        project: found.project.clone(),
        name: found.name.clone(),
    };
    assert!(decide(&serde_json::from_value(job).unwrap(), &agent, &found.rules).is_err());
}

#[test]
fn unchanged_files_keep_their_rules_and_the_snapshot_is_the_same() {
    let root = TempDir::new().unwrap();
    write(root.path(), "acme/infra", "prod", GOOD);
    write(root.path(), "acme/infra", "test", GOOD);
    let mut directories = open(root.path());
    let (first, second) = (read(&mut directories), read(&mut directories));
    assert!(first.same(&second));
    write(root.path(), "acme/infra", "test", "ci_access: {}");
    let third = read(&mut directories);
    assert!(!third.same(&first));
    let rules =
        |snapshot: &Snapshot| Arc::clone(&agent(snapshot, "acme/infra", "prod").unwrap().rules);
    assert!(Arc::ptr_eq(&rules(&first), &rules(&third)));
    fs::remove_dir_all(root.path().join("acme")).unwrap();
    let gone = Instant::now();
    read_at(&mut directories, gone);
    assert_eq!(
        read_at(&mut directories, gone + GONE_AFTER).iter().count(),
        0
    );
}

#[test]
fn a_file_that_is_being_replaced_keeps_its_rules() {
    let root = TempDir::new().unwrap();
    write(
        root.path(),
        "acme/infra",
        "prod",
        "ci_access: {implicit: false}",
    );
    let mut directories = open(root.path());
    let start = Instant::now();
    let before = read_at(&mut directories, start);
    let file = agent(&before, "acme/infra", "prod").unwrap().file.clone();

    fs::remove_file(&file).unwrap();
    let without = read_at(&mut directories, start);
    assert!(without.same(&before), "it may come back in a moment");
    assert!(directories.is_missing_any());
    write(
        root.path(),
        "acme/infra",
        "prod",
        "ci_access: {implicit: false}",
    );
    assert!(read_at(&mut directories, start).same(&before));
    assert!(!directories.is_missing_any());

    fs::remove_file(&file).unwrap();
    read_at(&mut directories, start);
    let gone = read_at(&mut directories, start + GONE_AFTER);
    assert!(agent(&gone, "acme/infra", "prod").is_none());
}

#[test]
fn a_root_that_is_gone_leaves_its_rules_in_force() {
    let parent = TempDir::new().unwrap();
    let (root, away) = (parent.path().join("root"), parent.path().join("away"));
    write(&root, "acme/infra", "prod", GOOD);
    let mut directories = open(&root);
    read(&mut directories);
    fs::rename(&root, &away).unwrap();
    let snapshot = read(&mut directories);
    assert!(
        agent(&snapshot, "acme/infra", "prod")
            .unwrap()
            .problem
            .is_some()
    );
    fs::rename(&away, &root).unwrap();
    assert_eq!(
        agent(&read(&mut directories), "acme/infra", "prod")
            .unwrap()
            .problem,
        None
    );
}

#[test]
fn links_may_lead_about_the_root_but_not_out_of_it() {
    let (root, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    // As a ConfigMap is mounted.
    write(&root.path().join("..2026_01"), "acme/infra", "prod", GOOD);
    symlink("..2026_01", root.path().join("..data")).unwrap();
    symlink("..data/acme", root.path().join("acme")).unwrap();
    write(outside.path(), "evil/app", "x", GOOD);
    symlink(outside.path().join("evil"), root.path().join("evil")).unwrap();
    write(root.path(), "bad/app", "x", GOOD);
    let linked = root.path().join("bad/app/.gitlab/agents/x/config.yaml");
    fs::remove_file(&linked).unwrap();
    symlink(
        outside.path().join("evil/app/.gitlab/agents/x/config.yaml"),
        &linked,
    )
    .unwrap();
    symlink(root.path(), root.path().join("circle")).unwrap();

    let snapshot = read(&mut open(root.path()));
    assert_eq!(
        agent(&snapshot, "acme/infra", "prod").unwrap().problem,
        None
    );
    assert!(agent(&snapshot, "evil/app", "x").is_none());
    assert!(
        agent(&snapshot, "bad/app", "x")
            .unwrap()
            .problem
            .as_ref()
            .unwrap()
            .contains("link out of")
    );
    assert!(
        snapshot
            .iter()
            .all(|agent| !agent.project.as_str().starts_with(".."))
    );
}

#[test]
fn the_first_of_several_roots_wins() {
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    write(first.path(), "acme/infra", "prod", GOOD);
    write(second.path(), "acme/infra", "prod", "ci_access: {}");
    write(second.path(), "acme/infra", "test", GOOD);
    let state = TempDir::new().unwrap();
    let snapshot = known(
        &config(&[&first, &second]),
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

#[tokio::test]
async fn the_end_of_a_task_is_noticed() {
    let root = TempDir::new().unwrap();
    let state = TempDir::new().unwrap();
    let (_agents, receiver) = tokio::sync::watch::channel(Arc::default());
    let (_snapshots, watcher) = watch(&config(&[&root]), &place(&state), receiver)
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
    let (mut snapshots, _watcher) = watch(&config(&[&root]), &place(&state), receiver)
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
    let config = config(&[&root]);
    drop(root);
    let (_agents, receiver) = tokio::sync::watch::channel(Arc::default());
    let watched = watch(&config, &place(&state), receiver).await;
    assert!(matches!(watched, Err(Error::Directory { .. })));
}
