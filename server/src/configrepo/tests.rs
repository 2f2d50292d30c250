//! Real directories: what is found, what is kept, what is refused, and that changes arrive.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::dir::{Directories, GONE_AFTER};
use super::{AgentRules, Config, Error, Repository, Snapshot, watch};
use crate::access::{MAX_FILE, decide};
use crate::identity::{Agent, AgentId};

mod realms;

const GOOD: &str = "ci_access:\n  projects:\n  - id: acme/app\n";

fn write(root: &Path, project: &str, name: &str, content: &str) {
    let directory = root.join(project).join(".gitlab/agents").join(name);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("config.yaml"), content).unwrap();
}

fn config(directories: &[&Path]) -> Config {
    let repositories = directories.iter().map(|directory| Repository {
        directory: directory.to_path_buf(),
        provider: None,
    });
    let mut config = Config::default();
    config.repositories.extend(repositories);
    config
}

fn open(root: &TempDir) -> Directories {
    Directories::open(&config(&[root.path()])).unwrap()
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
    let snapshot = open(&root).read();
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
    let mut directories = open(&root);
    let good = directories.read();
    let good = agent(&good, "acme/infra", "prod").unwrap();
    for bad in [
        "ci_access: [",
        "ci_acess: {}",
        &"#".repeat(MAX_FILE + 1),
        "\u{0}",
    ] {
        write(root.path(), "acme/infra", "prod", bad);
        let snapshot = directories.read();
        let kept = agent(&snapshot, "acme/infra", "prod").unwrap();
        assert!(
            kept.problem.as_ref().unwrap().contains("config.yaml"),
            "{kept:?}"
        );
        assert!(Arc::ptr_eq(&kept.rules, &good.rules));
        assert_eq!(kept.revision, good.revision);
    }
    write(root.path(), "acme/infra", "prod", GOOD);
    let snapshot = directories.read();
    assert_eq!(
        agent(&snapshot, "acme/infra", "prod").unwrap().problem,
        None
    );
}

#[test]
fn a_file_that_was_never_good_lets_nobody_in() {
    let root = TempDir::new().unwrap();
    write(root.path(), "acme/infra", "prod", "ci_access: [");
    let snapshot = open(&root).read();
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
    let mut directories = open(&root);
    let (first, second) = (directories.read(), directories.read());
    assert!(first.same(&second));
    write(root.path(), "acme/infra", "test", "ci_access: {}");
    let third = directories.read();
    assert!(!third.same(&first));
    let rules =
        |snapshot: &Snapshot| Arc::clone(&agent(snapshot, "acme/infra", "prod").unwrap().rules);
    assert!(Arc::ptr_eq(&rules(&first), &rules(&third)));
    fs::remove_dir_all(root.path().join("acme")).unwrap();
    let gone = Instant::now();
    directories.read_at(gone);
    assert_eq!(directories.read_at(gone + GONE_AFTER).iter().count(), 0);
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
    let mut directories = open(&root);
    let start = Instant::now();
    let before = directories.read_at(start);
    let file = agent(&before, "acme/infra", "prod").unwrap().file.clone();

    fs::remove_file(&file).unwrap();
    let without = directories.read_at(start);
    assert!(without.same(&before), "it may come back in a moment");
    assert!(directories.is_missing_any());
    write(
        root.path(),
        "acme/infra",
        "prod",
        "ci_access: {implicit: false}",
    );
    assert!(directories.read_at(start).same(&before));
    assert!(!directories.is_missing_any());

    fs::remove_file(&file).unwrap();
    directories.read_at(start);
    let gone = directories.read_at(start + GONE_AFTER);
    assert!(agent(&gone, "acme/infra", "prod").is_none());
}

#[test]
fn a_root_that_is_gone_leaves_its_rules_in_force() {
    let parent = TempDir::new().unwrap();
    let (root, away) = (parent.path().join("root"), parent.path().join("away"));
    write(&root, "acme/infra", "prod", GOOD);
    let mut directories = Directories::open(&config(&[&root])).unwrap();
    directories.read();
    fs::rename(&root, &away).unwrap();
    let snapshot = directories.read();
    assert!(
        agent(&snapshot, "acme/infra", "prod")
            .unwrap()
            .problem
            .is_some()
    );
    fs::rename(&away, &root).unwrap();
    assert_eq!(
        agent(&directories.read(), "acme/infra", "prod")
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

    let snapshot = open(&root).read();
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
    let mut directories = Directories::open(&config(&[first.path(), second.path()])).unwrap();
    let snapshot = directories.read();
    assert!(
        agent(&snapshot, "acme/infra", "prod")
            .unwrap()
            .file
            .starts_with(first.path())
    );
    assert!(agent(&snapshot, "acme/infra", "test").is_some());
}

#[tokio::test]
async fn a_change_arrives() {
    let root = TempDir::new().unwrap();
    write(root.path(), "acme/infra", "prod", GOOD);
    let config = config(&[root.path()]);
    let (mut snapshots, _watcher) = watch(&config).await.unwrap();
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
    let config = config(&["/nonexistent/ci-tunnel".as_ref()]);
    assert!(matches!(watch(&config).await, Err(Error::Directory { .. })));
}
