//! `audit verify` and `audit query` on the log of a server that has run, and the check that the documentation shows.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::place::Place;
use crate::serve::Server;

/// A server that ran twice.
async fn place(more: &str) -> (Place, PathBuf) {
    let place = Place::new();
    place.write("server.yaml", &place.config(more));
    for _ in 0..2 {
        let mut server = Server::start(&place).await;
        server.signal("-TERM").await;
        assert!(server.end().await.success());
    }
    let log = place.path("state/audit.log");
    (place, log)
}

fn change(log: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(log).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(log, text.replacen(from, to, 1)).unwrap();
}

#[tokio::test]
async fn a_good_chain_ends_with_0_and_a_bad_one_with_1() {
    let (place, log) = place("").await;
    let text = place.ok(&["audit", "verify"]).await;
    assert!(
        text.starts_with("ok: 4 lines in 1 files, from 1 on; the last is 4:"),
        "{text}"
    );
    let last = text.trim_end().rsplit(' ').next().unwrap();
    place.ok(&["audit", "verify", "--expect-last", last]).await;
    // An end that was cut off is found without being told what to expect.
    let whole = std::fs::read_to_string(&log).unwrap();
    let three: String = whole.split_inclusive('\n').take(3).collect();
    std::fs::write(&log, three).unwrap();
    assert_eq!(place.run(&["audit", "verify"]).await.code, Some(1));
    std::fs::write(&log, whole).unwrap();
    change(&log, "\"after\":\"stop\"", "\"after\":\"crash\"");
    let ran = place.run(&["audit", "verify"]).await;
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stdout.contains("audit.log:3: changed: "),
        "{}",
        ran.stdout
    );
    let message = place
        .fails(2, &["audit", "verify", "--expect-last", "4"])
        .await;
    assert!(
        message.contains("invalid value '4' for '--expect-last"),
        "{message}"
    );
}

#[tokio::test]
async fn a_key_is_read_from_the_configuration_or_named() {
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "00112233445566778899\n").unwrap();
    let key = key.path().display().to_string();
    let (place, log) = place(&format!("audit: {{chain_key_file: {key}}}\n")).await;
    assert!(place.ok(&["audit", "verify"]).await.starts_with("ok: "));
    place.write("server.yaml", &place.config(""));
    let log = log.display().to_string();
    assert_eq!(place.run(&["audit", "verify", &log]).await.code, Some(1));
    let named = ["audit", "verify", "--key-file", &key, &log];
    assert!(place.ok(&named).await.starts_with("ok: "));
}

#[tokio::test]
async fn what_can_not_be_read_is_told() {
    let place = Place::new();
    let message = place.fails(1, &["audit", "query"]).await;
    assert!(
        message.contains("there is no audit file ")
            && message.contains("audit.log: the server has not run yet"),
        "{message}"
    );
    let message = place.fails(1, &["audit", "verify", "nowhere"]).await;
    assert!(message.starts_with("nowhere: No such file"), "{message}");
    place.write("server.yaml", &place.config("audit: {output: stdout}\n"));
    let message = place.fails(1, &["audit", "query"]).await;
    assert_eq!(
        message,
        "audit lines go to standard output, not to a file: name the files that hold them"
    );
    for (flag, value, says) in [
        (
            "--since",
            "yesterday",
            "must be a time, as 2026-01-31T12:00:00Z, or how long ago, as 2h",
        ),
        (
            "--status",
            "7xx",
            "must be a code of HTTP, as 403, or a hundred of them, as 4xx",
        ),
    ] {
        let ran = place.run(&["audit", "query", flag, value]).await;
        assert_eq!(ran.code, Some(2));
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn a_second_server_does_not_write_into_the_same_log() {
    let place = Place::new();
    let mut server = Server::start(&place).await;
    let message = place.fails(1, &["serve"]).await;
    assert!(
        message.contains("another server writes audit lines with this state_dir"),
        "{message}"
    );
    server.signal("-TERM").await;
    assert!(server.end().await.success());
    assert!(place.ok(&["audit", "verify"]).await.starts_with("ok: "));
}

/// The check that needs nothing of ours.
#[tokio::test]
async fn the_documented_script_finds_what_the_program_finds() {
    let (place, log) = place("").await;
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let blocks = docs.split("```sh\n").skip(1);
    let mut scripts = blocks.filter_map(|block| block.split_once("```"));
    let (script, _) = scripts
        .find(|(script, _)| script.contains("sha256sum"))
        .unwrap();
    let script = place.write("check.sh", script);
    let ran = async || {
        let mut command = Command::new("sh");
        let output = command
            .arg(&script)
            .current_dir(log.parent().unwrap())
            .output()
            .await
            .unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (ok, text) = ran().await;
    assert!(ok, "{text}");
    change(&log, "\"event\":\"stop\"", "\"event\":\"STOP\"");
    let (ok, text) = ran().await;
    assert!(!ok && text.contains("line 2"), "{text}");
}
