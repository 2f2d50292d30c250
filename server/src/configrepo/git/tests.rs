//! What git repositories are told by the file, and what is known of them between two starts.

use ci_tunnel::config::load;
use tempfile::TempDir;

use super::project::Parsed;
use super::state::{Known, State};
use super::tree::Found;
use super::{Pokes, Remote};
use crate::configrepo::file;
use crate::configrepo::realm::Realm;

const GOOD: &str = "ci_access: {projects: [{id: acme/app}]}";

fn remote(yaml: &str) -> Result<Remote, String> {
    load::from_str(yaml, "f.yaml").map_err(|error| error.to_string())
}

fn parsed(content: &[u8]) -> Parsed {
    let rules = file::parse(&Realm::default(), content, "prod")?;
    Ok((rules, content.to_vec()))
}

#[test]
fn covers_projects_and_what_is_below_groups() {
    let covers =
        |yaml: &str, project: &str| remote(yaml).unwrap().covers(&project.parse().unwrap());
    let all = "url: 'https://h/{project}.git'";
    let some = "{url: 'https://h/{project}.git', projects: [acme, other/infra]}";
    let one = "{url: 'https://h/config.git', projects: [acme/infra]}";
    assert!(covers(all, "any/thing"));
    assert!(covers(some, "Acme/deep/infra") && covers(some, "acme") && covers(some, "other/infra"));
    assert!(
        !covers(some, "acme-evil/infra")
            && !covers(some, "other/infra-2")
            && !covers(some, "other")
    );
    assert!(covers(one, "acme/infra") && !covers(one, "acme/infra/below"));
}

#[test]
fn two_remotes_may_have_one_project_or_can_not() {
    let all = "url: 'https://h/{project}.git'";
    let some = "{url: 'https://h/{project}.git', projects: [acme, other/infra]}";
    let below = "{url: 'https://h/{project}.git', projects: [acme/infra/deep]}";
    let one = "{url: 'https://h/config.git', projects: [other/infra]}";
    let elsewhere = "{url: 'https://h/{project}.git', projects: [acme-evil, other/infra-2]}";
    for (left, right, overlap) in [
        (all, elsewhere, true),
        (some, below, true),
        (some, one, true),
        (some, elsewhere, false),
        (below, one, false),
    ] {
        let (left, right) = (remote(left).unwrap(), remote(right).unwrap());
        assert_eq!(left.overlaps(&right), overlap);
        assert_eq!(right.overlaps(&left), overlap);
    }
}

#[test]
fn values_that_do_not_fit_together_are_refused() {
    for (yaml, says) in [
        (
            "url: 'https://h/config.git'",
            "projects must name the one project",
        ),
        (
            "{url: 'https://h/{project}', ssh_key_file: /k}",
            "ssh_key_file is not for a url over https",
        ),
        (
            "{url: 'git@h:{project}', password: x}",
            "password is not for a url over ssh",
        ),
        (
            "url: 'git@h:{project}'",
            "needs ssh_key_file and known_hosts_file",
        ),
        (
            "{url: 'git@h:{project}', ssh_key_file: /k}",
            "needs ssh_key_file and known_hosts_file",
        ),
        (
            "{url: 'https://h/{project}', username: x}",
            "username without password",
        ),
        (
            "{url: 'https://h/{project}', username: 'a:b', password: x}",
            "username holds a colon",
        ),
        (
            "{url: 'https://h/{project}', proxy: 'http://u:p@h'}",
            "proxy is",
        ),
        ("{url: 'https://h/{project}', proxy: 'h:80'}", "proxy is"),
        ("{url: 'https://h/{project}', branch: '-x'}", "branch is"),
        (
            "{url: 'https://h/{project}', branch: refs/heads/main}",
            "branch is",
        ),
        ("{url: 'https://h/{project}', branch: 'a b'}", "branch is"),
        (
            "{url: 'https://h/{project}', poll: 10ms}",
            "poll must be at least 1s",
        ),
        (
            "{url: 'https://h/{project}', timeout: 0s}",
            "timeout must be at least 1s",
        ),
        (
            "{url: 'https://h/{project}', projects: [../x]}",
            "is not a project path",
        ),
        (
            "{url: 'https://h/{project}', user: x}",
            "unknown field `user`",
        ),
    ] {
        let error = remote(yaml).unwrap_err();
        assert!(error.contains(says), "{yaml}: {error}");
    }
}

#[test]
fn the_last_good_content_is_there_at_the_next_start() {
    let directory = TempDir::new().unwrap();
    let (prod, test) = ("prod".parse().unwrap(), "test".parse().unwrap());
    let mut state = State {
        commit: Some("a".repeat(40)),
        ..State::default()
    };
    let mut known = Known::default();
    known.read("1".repeat(40), &"a".repeat(40), parsed(GOOD.as_bytes()));
    known.read("2".repeat(40), &"b".repeat(40), parsed(b"ci_access: ["));
    assert!(known.problem.is_some());
    state.agents.insert(prod, known);
    state.agents.insert(test, Known::default());
    state.save(directory.path()).unwrap();

    let mut loaded = State::load(directory.path(), &Realm::default(), ToString::to_string);
    let names: Vec<_> = loaded.agents.keys().cloned().collect();
    // What could not be used is looked at again, by a program that may know better.
    assert!(!loaded.knows(&"a".repeat(40), &names));
    let known = loaded.agents.remove(&names[0]).unwrap();
    assert_eq!(known.good.unwrap().commit, "a".repeat(40));
    assert!(known.problem.unwrap().starts_with("prod:"));
    assert!(loaded.agents[&names[1]].blob.is_none());

    // Of a disk that was full.
    std::fs::write(directory.path().join("state.json"), "{\"commit\": \"a").unwrap();
    assert!(
        State::load(directory.path(), &Realm::default(), ToString::to_string)
            .commit
            .is_none()
    );
}

#[test]
fn a_file_that_did_not_change_is_of_the_newest_commit() {
    let mut known = Known::default();
    let found = Found::File {
        blob: "1".repeat(40),
    };
    assert!(!known.is(&found));
    known.read("1".repeat(40), "first", parsed(GOOD.as_bytes()));
    assert!(known.is(&found));
    known.seen_in("second");
    assert_eq!(known.good.as_ref().unwrap().commit, "second");
    known.refuse("2".repeat(40), "no".to_owned());
    known.seen_in("third");
    assert_eq!(known.good.unwrap().commit, "second");
}

#[tokio::test]
async fn only_followed_projects_are_poked() {
    let pokes = Pokes::default();
    let project = "Acme/infra".parse().unwrap();
    pokes.poke(&project);
    let notify = pokes.register(&project);
    pokes.poke(&"acme/INFRA".parse().unwrap());
    pokes.poke(&project);
    notify.notified().await;
    assert!(
        tokio::time::timeout(std::time::Duration::ZERO, notify.notified())
            .await
            .is_err()
    );
    pokes.forget(&project);
    assert!(pokes.lock().is_empty());
}
