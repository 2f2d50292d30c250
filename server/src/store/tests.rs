//! The suite on SQLite in a file and in memory, and what only a file can show.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::suite::{agent, now};
use super::{Error, Store};

mod in_file {
    crate::store::suite::run!(super::in_file);
}

mod in_memory {
    crate::store::suite::run!(super::in_memory);
}

async fn in_file() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    (dir, store)
}

async fn in_memory() -> ((), Store) {
    ((), Store::in_memory().await.unwrap())
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn files_are_their_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("var/state");
    let store = Store::open(&state).await.unwrap();
    agent(&store, "acme/infra", "prod").await.unwrap();
    assert_eq!(mode(&state), 0o700);
    let mut names = Vec::new();
    for entry in state.read_dir().unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_owned());
    }
    assert!(
        names.len() > 1,
        "the write-ahead log is looked at too: {names:?}"
    );

    store.close().await;
    let file = state.join("store.sqlite");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    Store::open(&state).await.unwrap();
    assert_eq!(mode(&file), 0o600);
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let (dir, store) = in_file().await;
    let made = agent(&store, "acme/infra", "prod").await.unwrap();
    let (_, token) = store
        .create_agent_token(made.id, "", None, now())
        .await
        .unwrap();
    let key = store.secret("signing").await.unwrap();
    store.verify_agent_token(&token, now()).await.unwrap();
    store.close().await;

    let store = Store::open(dir.path()).await.unwrap();
    let (found, record) = store.verify_agent_token(&token, now()).await.unwrap();
    assert_eq!((found, record.last_used_at), (made, Some(now())));
    assert_eq!(
        store.secret("signing").await.unwrap().expose(),
        key.expose()
    );
}

#[tokio::test]
async fn the_token_is_nowhere_in_the_files() {
    let (dir, store) = in_file().await;
    let made = agent(&store, "acme/infra", "prod").await.unwrap();
    let (_, token) = store
        .create_agent_token(made.id, "", None, now())
        .await
        .unwrap();
    store.close().await;
    for entry in dir.path().read_dir().unwrap() {
        let content = std::fs::read(entry.unwrap().path()).unwrap();
        let secret = token.expose().trim_start_matches("citagent-").as_bytes();
        assert!(!content.windows(secret.len()).any(|window| window == secret));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_stores_opened_at_once_agree_on_a_secret() {
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = tokio::join!(Store::open(dir.path()), Store::open(dir.path()));
        let (one, two) = (one.unwrap(), two.unwrap());
        let ask = |store: &Store| {
            let store = store.clone();
            tokio::spawn(async move { *store.secret("signing").await.unwrap().expose() })
        };
        let asked = [ask(&one), ask(&two), ask(&one), ask(&two)];
        let mut keys = Vec::new();
        for key in asked {
            keys.push(key.await.unwrap());
        }
        assert!(keys.iter().all(|key| *key == keys[0]));
    }
}

#[tokio::test]
async fn another_handle_of_the_file_sees_changes() {
    let (dir, server) = in_file().await;
    let command = Store::open(dir.path()).await.unwrap();
    let mut changes = server.changes();
    agent(&command, "acme/infra", "prod").await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), changes.changed())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(server.agents().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_full_disk_is_named_and_reading_goes_on() {
    let (dir, store) = in_file().await;
    let made = agent(&store, "acme/infra", "prod").await.unwrap();
    let (_, token) = store
        .create_agent_token(made.id, "", None, now())
        .await
        .unwrap();
    let full = super::sqlite::Sqlite::open_full(dir.path()).await;
    let full = Store::on(std::sync::Arc::new(full)).await.unwrap();

    let long = "x".repeat(1 << 20);
    let error = full
        .create_agent_token(made.id, &long, None, now())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Full { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("store.sqlite: no space left"), "{message}");
    full.verify_agent_token(&token, now()).await.unwrap();
    full.close().await;
}

#[tokio::test]
async fn a_file_of_another_kind_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("store.sqlite"),
        "not a database ".repeat(400),
    )
    .unwrap();
    let error = Store::open(dir.path()).await.unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("store.sqlite"), "{error}");
}

#[tokio::test]
async fn a_directory_that_can_not_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Store::open(&file.join("state")).await.unwrap_err();
    assert!(error.to_string().contains("file/state"), "{error}");
}
