//! Real directories: what is found, what is kept, what is refused.

mod places;
mod realms;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use tempfile::TempDir;

use super::dir::{Directory, GONE_AFTER};
use super::kept::Kept;
use super::layer::{self, Layers};
use super::realm::Realm;
use super::{AgentRules, Snapshot};
use crate::access::{MAX_FILE, Rules, decide};
use crate::identity::{Agent, AgentId};

const GOOD: &str = "ci_access:\n  projects:\n  - id: acme/app\n";

fn write(root: &Path, project: &str, name: &str, content: &str) {
    let directory = root.join(project).join(".gitlab/agents").join(name);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("config.yaml"), content).unwrap();
}

fn open(root: &Path) -> Directory {
    Directory::open(root.to_owned(), Realm::default(), Kept::default()).unwrap()
}

/// With what it keeps in `state`.
fn reopen(root: &Path, state: &Path) -> Directory {
    let kept = Kept::open(state.to_owned()).unwrap();
    Directory::open(root.to_owned(), Realm::default(), kept).unwrap()
}

fn read(directory: &mut Directory) -> Snapshot {
    snapshot(directory.read())
}

fn snapshot(reading: layer::Reading) -> Snapshot {
    let layers = Layers::new(std::iter::once(None), Rules::default());
    layers.layer(0).replace(reading);
    layers.snapshot()
}

/// The very same rules, none read again.
fn same(one: &Snapshot, other: &Snapshot) -> bool {
    let same = |agent: &AgentRules| {
        let other = other.rules(&agent.project, &agent.name);
        other.is_some_and(|other| std::ptr::eq(agent, other))
    };
    one.iter().count() == other.iter().count() && one.iter().all(same)
}

fn read_at(directory: &mut Directory, now: Instant) -> Snapshot {
    snapshot(directory.read_at(now))
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
    assert!(same(&first, &second));
    write(root.path(), "acme/infra", "test", "ci_access: {}");
    let third = read(&mut directories);
    assert!(!same(&third, &first));
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
    assert!(same(&without, &before), "it may come back in a moment");
    assert!(directories.is_missing_any());
    write(
        root.path(),
        "acme/infra",
        "prod",
        "ci_access: {implicit: false}",
    );
    assert!(same(&read_at(&mut directories, start), &before));
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
    // Of others it is not known whom their files keep out.
    let other = Agent {
        id: AgentId(1),
        project: "acme/other".parse().unwrap(),
        name: "prod".parse().unwrap(),
    };
    let own = json!({"provider": "local", "project": {"path": "acme/other"}});
    let own = serde_json::from_value(own).unwrap();
    assert!(decide(&own, &other, &snapshot.in_force(&other)).is_err());
    assert_eq!(snapshot.hidden(&other).unwrap().directory, root);
    fs::rename(&away, &root).unwrap();
    let snapshot = read(&mut directories);
    assert!(decide(&own, &other, &snapshot.in_force(&other)).is_ok());
    assert!(snapshot.hidden(&other).is_none());
    assert_eq!(
        agent(&snapshot, "acme/infra", "prod").unwrap().problem,
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
    // Each way down could be gone in many orders.
    for from in ["acme/one", "acme/two", "acme/three", "acme/four"] {
        let from = root.path().join("..2026_01").join(from);
        fs::create_dir_all(&from).unwrap();
        for (at, to) in ["one", "two", "three", "four"].iter().enumerate() {
            symlink(format!("../{to}"), from.join(format!("a{at}"))).unwrap();
            symlink(format!("../{to}"), from.join(format!("b{at}"))).unwrap();
        }
    }

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
fn a_change_is_seen_though_size_and_time_are_what_they_were() {
    let root = TempDir::new().unwrap();
    write(root.path(), "acme/infra", "prod", GOOD);
    let path = root
        .path()
        .join("acme/infra/.gitlab/agents/prod/config.yaml");
    let old = SystemTime::now() - Duration::from_secs(3600);
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(old).unwrap();
    let mut directory = open(root.path());
    let before = read(&mut directory);
    fs::write(&path, GOOD.replace("acme/app", "acme/abc")).unwrap();
    file.set_modified(old).unwrap();
    let after = read(&mut directory);
    let revision = |snapshot: &Snapshot| {
        agent(snapshot, "acme/infra", "prod")
            .unwrap()
            .revision
            .clone()
    };
    assert_ne!(revision(&before), revision(&after));
}
