//! `kubectl exec`: exit codes, output, input, a terminal.

use anyhow::Result;
use tokio::process::Command;

use super::Wire;
use crate::ring::{Ring, finish};

#[tokio::test]
async fn exit_codes_over_websocket() -> Result<()> {
    exit_codes(Wire::WebSocket).await
}

#[tokio::test]
async fn exit_codes_over_spdy() -> Result<()> {
    exit_codes(Wire::Spdy).await
}

async fn exit_codes(wire: Wire) -> Result<()> {
    match Ring::get("exit codes of exec").await {
        Some(ring) => exit_codes_of(ring, wire).await,
        None => Ok(()),
    }
}

pub(super) async fn exit_codes_of(ring: &Ring, wire: Wire) -> Result<()> {
    let namespace = ring.pod("exec").await?;
    let kubectl = ring.kubectl()?;
    let cases = [
        ("echo out; echo err >&2", 0),
        ("echo out; echo err >&2; exit 3", 3),
        ("echo out; echo err >&2; kill -9 $$", 137),
    ];
    for (script, code) in cases {
        let args = ["exec", "-n", &namespace, "web", "--", "sh", "-c", script];
        let output = finish(wire.command(&kubectl, &args), b"").await?;
        assert_eq!(output.status.code(), Some(code), "{script}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.starts_with("err\n"), "{errors}");
    }
    wire.was_used(ring, &namespace, "exec").await
}

#[tokio::test]
async fn input_over_websocket() -> Result<()> {
    input(Wire::WebSocket).await
}

#[tokio::test]
async fn input_over_spdy() -> Result<()> {
    input(Wire::Spdy).await
}

/// The command ends only if the end of the input reaches it.
async fn input(wire: Wire) -> Result<()> {
    let Some(ring) = Ring::get("input of exec").await else {
        return Ok(());
    };
    let namespace = ring.pod("exec-i").await?;
    let kubectl = ring.kubectl()?;
    let args = ["exec", "-i", "-n", &namespace, "web", "--", "cat"];
    let text = "to be echoed, line by line\n".repeat(40_000);
    let output = finish(wire.command(&kubectl, &args), text.as_bytes()).await?;
    assert!(output.status.success(), "{:?}", output.status);
    assert!(
        output.stdout == text.as_bytes(),
        "{} bytes came back",
        output.stdout.len()
    );

    // Without -i there is no input, and nobody waits for any.
    let args = ["exec", "-n", &namespace, "web", "--", "cat"];
    let output = finish(wire.command(&kubectl, &args), b"not sent").await?;
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{output:?}"
    );
    wire.was_used(ring, &namespace, "exec").await
}

#[tokio::test]
async fn a_terminal_over_websocket() -> Result<()> {
    terminal(Wire::WebSocket).await
}

#[tokio::test]
async fn a_terminal_over_spdy() -> Result<()> {
    terminal(Wire::Spdy).await
}

/// kubectl wants a terminal itself before it asks for one: `script` gives it one.
async fn terminal(wire: Wire) -> Result<()> {
    let Some(ring) = Ring::get("exec with a terminal").await else {
        return Ok(());
    };
    let namespace = ring.pod("exec-t").await?;
    let kubectl = ring.kubectl()?;
    // The size comes by itself, and often a moment after the start.
    let shell = r#"
        test -t 0 || exit 1
        until [ "$(stty size)" = "33 44" ]; do sleep 0.1; done
        read -r word
        echo "<$word>"
        exit 3
    "#;
    let args = [
        "exec", "-it", "-n", &namespace, "web", "--", "sh", "-c", shell,
    ];
    let command = wire.command(&kubectl, &args);
    let output = finish(in_terminal(&command), b"hello\n").await?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("<hello>"), "{text}");
    assert_eq!(output.status.code(), Some(3), "{text}");
    wire.was_used(ring, &namespace, "exec").await
}

fn in_terminal(command: &Command) -> Command {
    let command = command.as_std();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quote =
        |word: &std::ffi::OsStr| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"));
    let words: Vec<_> = words.map(quote).collect();
    let line = format!("stty rows 33 cols 44; exec {}", words.join(" "));
    let mut script = Command::new("script");
    script
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env_clear()
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true);
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            script.env(name, value);
        }
    }
    script
}
