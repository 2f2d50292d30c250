//! Help, exit codes (0 good, 1 something does not hold, 2 an impossible command line), and messages that say what to do.

use crate::place::{NOBODY, Place, ran};

#[tokio::test]
async fn help_lists_commands_and_flags() {
    const FLAGS: &str = "--config --server --ca-file --pin --server-name --token-file --kubeconfig --context \
                         --service-account-dir --ops --log-level --log-format --drain-timeout --threads";
    let place = Place::new();
    for (command, lists) in [
        ("", "run check completions --version"),
        ("run", FLAGS),
        ("check", FLAGS),
        ("completions", "bash fish zsh"),
    ] {
        let arguments: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let help = place.ok(&arguments).await;
        let words: Vec<&str> = help
            .split(|c: char| c.is_whitespace() || ",[]()".contains(c))
            .collect();
        for wanted in lists.split_whitespace().chain(["--help"]) {
            assert!(
                words.contains(&wanted),
                "`{command} --help` does not list {wanted}:\n{help}"
            );
        }
        assert!(
            help.lines().all(|line| line.chars().count() <= 100),
            "{help}"
        );
        // Each flag has its variable, named after it, but for the token itself, which has no flag.
        for flag in lists.split_whitespace().filter(|_| lists == FLAGS) {
            let variable = flag
                .replacen("--", "CI_TUNNEL_", 1)
                .replace('-', "_")
                .to_uppercase();
            assert!(
                words.contains(&format!("{variable}=").as_str()),
                "{variable}:\n{help}"
            );
        }
        assert!(
            !words.contains(&"--token"),
            "arguments are seen by everybody on the machine"
        );
    }
    let version = concat!("ci-tunnel-agent ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(place.ok(&["--version"]).await, version);
}

#[tokio::test]
async fn help_shows_no_token() {
    let place = Place::new();
    let mut command = place.command(&["run", "--help"]);
    command.env("CI_TUNNEL_TOKEN", "citagent-in-the-environment");
    let help = ran(command).await;
    assert!(
        help.stdout.contains("CI_TUNNEL_TOKEN") && !help.stdout.contains("citagent-"),
        "{}",
        help.stdout
    );
}

#[tokio::test]
async fn completes_in_every_shell() {
    let place = Place::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = place.ok(&["completions", shell]).await;
        for word in ["ci-tunnel-agent", "check", "service-account-dir"] {
            assert!(
                script.contains(word),
                "{shell}: no {word} in {} bytes",
                script.len()
            );
        }
    }
}

#[tokio::test]
async fn a_wrong_command_line_ends_with_2() {
    let place = Place::new();
    let ran = place.run(&[]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    assert!(
        ran.stderr.contains("Usage: ci-tunnel-agent"),
        "{}",
        ran.stderr
    );
    assert_eq!(
        place.run(&["walk"]).await.message(2),
        "unrecognized subcommand 'walk'"
    );
    assert_eq!(place.run(&["run", "--token", "x"]).await.code, Some(2));
    let threads = place.run(&["run", "--threads", "many"]).await;
    assert!(
        threads
            .message(2)
            .contains("invalid value 'many' for '--threads <N>'"),
        "{threads:?}"
    );
}

/// Whichever command reads it: the message names the file and the field, and tells nothing twice.
#[tokio::test]
async fn a_bad_configuration_is_named() {
    let place = Place::new();
    let invalid = place.config("watch: 3\n");
    let duration = place.config("drain_timeout: soon\n");
    let ops = place.config("ops: nonsense\n");
    let pin = place.config("pin: nonsense\n");
    for (text, says) in [
        (
            invalid.as_str(),
            "bad.yaml: unknown field `watch`, expected one of `server`, ",
        ),
        (&duration, "bad.yaml: drain_timeout: "),
        (
            &ops,
            "ops: \"nonsense\" is neither an address as 127.0.0.1:8081 nor off",
        ),
        (
            &pin,
            "pin: `nonsense` is not a pin: write sha256: and 64 hexadecimal digits, as in the join command",
        ),
        (
            "",
            "server is missing: write the server's host and port as the file's `server`, --server or CI_TUNNEL_SERVER",
        ),
        (
            "server: x\n",
            "token is missing: write `token: {file: PATH}`, --token-file, or set CI_TUNNEL_TOKEN",
        ),
        (
            "server: x\ntoken: {file: token}\n",
            "KUBERNETES_SERVICE_PORT is not set: outside a cluster, write upstream.kubeconfig",
        ),
        (
            "server: 'https://x'\n",
            "server: \"https://x\" is a URL: write \"x\"",
        ),
    ] {
        place.write("bad.yaml", text);
        // What the file's shape allows may as well have come from a flag or a variable.
        let says = match says.starts_with("bad.yaml: ") {
            true => says.to_owned(),
            false => format!("bad.yaml, or a flag or variable over it: {says}"),
        };
        let ran = place.run(&["run", "--config", "bad.yaml"]).await;
        assert!(ran.message(1).starts_with(&says), "{text}: {ran:?}");
        let checked = place.run(&["check", "--config", "bad.yaml"]).await;
        assert_eq!((checked.code, checked.stderr.as_str()), (Some(1), ""));
        assert!(
            checked
                .stdout
                .starts_with(&format!("FAIL  file         {says}")),
            "{}",
            checked.stdout
        );
    }
    let missing = place.run(&["run", "--config", "none.yaml"]).await;
    assert_eq!(
        missing.message(1),
        "none.yaml: No such file or directory (os error 2)"
    );
}

#[tokio::test]
async fn run_names_a_file_that_it_can_not_use() {
    let place = Place::new();
    let config = |more: &[&str]| {
        let arguments = [&["run", "--config", "agent.yaml"], more].concat();
        arguments.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    place.write("broken", "no kubeconfig\n");
    place.write("ca.pem", "no certificate\n");
    for (more, says) in [
        (["--kubeconfig", "none"], "none"),
        (["--kubeconfig", "broken"], "broken"),
        (["--context", "other"], "other"),
        (["--ca-file", "ca.pem"], "ca.pem"),
        (
            ["--ca-file", "none.pem"],
            "none.pem: No such file or directory",
        ),
    ] {
        let arguments = config(&more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ran = place.run(&arguments).await;
        let message = ran.message(1);
        assert!(message.contains(says), "{message}");
        assert!(message.matches("No such file").count() <= 1, "{message}");
    }
}

#[tokio::test]
async fn check_says_of_each_thing_whether_it_holds() {
    let place = Place::new();
    let ran = place.run(&["check", "--config", "agent.yaml"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let begins = [
        "ok    file         the configuration is complete",
        "ok    token        can be read",
        &format!("ok    credentials  for https://{NOBODY}"),
        "ok    trust        the server's certificate can be judged",
        &format!("FAIL  UDP          {NOBODY}: "),
        &format!("FAIL  TCP          {NOBODY}: "),
        &format!("FAIL  API server   the agent can not reach https://{NOBODY}: "),
    ];
    assert_eq!(lines.len(), begins.len(), "{}", ran.stdout);
    for (line, begin) in lines.iter().zip(begins) {
        assert!(line.starts_with(begin), "{line}");
    }
    for secret in ["citagent-", "secret-of"] {
        assert!(!ran.stdout.contains(secret), "{}", ran.stdout);
    }
}
