//! Exit codes: 0 when all went well, 1 when something does not hold, 2 for a command line that says nothing possible.

use serde_json::Value;

use crate::place::Place;

#[tokio::test]
async fn a_wrong_command_line_ends_with_2() {
    let place = Place::new();
    let ran = place.run(&[]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    assert!(
        ran.stderr.contains("Usage: ci-tunnel-server"),
        "{}",
        ran.stderr
    );
    for (arguments, says) in [
        (&["frobnicate"][..], "unrecognized subcommand 'frobnicate'"),
        (&["serve", "--loud"], "unexpected argument '--loud' found"),
        (
            &["agent", "create", "acme"],
            "\"acme\" is not of the form <project path>:<agent name>",
        ),
        (
            &["agent", "create", "acme/infra:Prod"],
            "\"Prod\" is not an agent name: lower-case letters",
        ),
        (
            &["agent", "show", "prod"],
            "\"prod\" names no agent: write <project path>:<agent name>, or its id",
        ),
        (
            &["job-token", "issue"],
            "the following required arguments were not provided:",
        ),
        (
            &["job-token", "issue", "--project", "a/b", "--ttl", "soon"],
            "invalid value 'soon' for '--ttl <DURATION>'",
        ),
    ] {
        let message = place.fails(2, arguments).await;
        assert!(message.contains(says), "{arguments:?}: {message}");
    }
    assert!(
        !place.path("state").exists(),
        "none of these had to touch the state"
    );
}

#[tokio::test]
async fn agents_are_registered_once_and_named_when_unknown() {
    let place = Place::new();
    let created: Value = serde_json::from_str(
        &place
            .ok(&["agent", "create", "acme/infra:prod", "--json"])
            .await,
    )
    .unwrap();
    assert_eq!(
        (&created["id"], &created["name"]),
        (&1.into(), &"prod".into())
    );
    assert!(
        created["command"]
            .as_str()
            .unwrap()
            .contains("ci-tunnel-agent run --server localhost:"),
        "{created}"
    );

    for again in ["acme/infra:prod", "ACME/Infra:prod"] {
        let message = place.fails(1, &["agent", "create", again]).await;
        assert_eq!(
            message,
            "agent acme/infra:prod exists already: its id is 1; see `agent show 1`"
        );
    }
    let unknown = "no agent acme/infra:dev: is it acme/infra:prod? See `agent list`";
    for command in ["show", "delete", "token create", "token list"] {
        let arguments: Vec<&str> = ["agent"]
            .into_iter()
            .chain(command.split(' '))
            .chain(["acme/infra:dev"])
            .collect();
        assert_eq!(place.fails(1, &arguments).await, unknown);
    }
    assert_eq!(
        place
            .fails(2, &["explain", "acme/infra:dev", "--project", "a/b"])
            .await,
        unknown
    );
    assert_eq!(
        place.fails(1, &["agent", "show", "9"]).await,
        "no agent 9: see `agent list`"
    );
    let message = place.fails(1, &["agent", "token", "revoke", "9"]).await;
    assert_eq!(message, "no agent token 9: see `agent token list`");

    place.ok(&["agent", "delete", "acme/infra:prod"]).await;
    assert_eq!(
        place.fails(1, &["agent", "show", "1"]).await,
        "no agent 1: see `agent list`"
    );
}

#[tokio::test]
async fn a_token_is_shown_when_it_is_made_and_never_again() {
    let place = Place::new();
    let created = place
        .ok(&["agent", "create", "acme/infra:prod", "--json"])
        .await;
    let created: Value = serde_json::from_str(&created).unwrap();
    let token = created["token"].as_str().unwrap();
    for listing in [
        &["agent", "list"][..],
        &["agent", "show", "1", "--json"],
        &["agent", "token", "list", "1"],
    ] {
        let listed = place.ok(listing).await;
        assert!(
            listed.contains("prod") || listed.contains("valid"),
            "{listed}"
        );
        assert!(!listed.contains(token), "{listed}");
    }
}

#[tokio::test]
async fn kubeconfig_says_what_is_wrong_with_the_token() {
    let place = Place::new();
    place.ok(&["agent", "create", "acme/infra:prod"]).await;
    let none = place.fails(1, &["kubeconfig"]).await;
    assert!(
        none.contains("--token-file") && none.contains("CI_TUNNEL_JOB_TOKEN"),
        "{none}"
    );
    let missing = place
        .fails(1, &["kubeconfig", "--token-file", "none"])
        .await;
    assert_eq!(
        missing,
        "secret file none: No such file or directory (os error 2)"
    );
    place.write("empty", "\n");
    let empty = place
        .fails(1, &["kubeconfig", "--token-file", "empty"])
        .await;
    assert!(empty.contains("secret file empty"), "{empty}");
    place.write("rubbish", "rubbish-of-someone\n");
    let rubbish = place
        .fails(1, &["kubeconfig", "--token-file", "rubbish"])
        .await;
    assert_eq!(rubbish, "no method of this server knows such a credential");

    let token = place
        .ok(&["job-token", "issue", "--project", "acme/app"])
        .await;
    place.write("token", &token);
    let nothing = place
        .fails(1, &["kubeconfig", "--token-file", "token"])
        .await;
    assert_eq!(
        nothing,
        "no rule lets this job of acme/app use any agent: ask `explain` about one"
    );
    place.ok(&["agent", "create", "acme/app:prod"]).await;
    let document = place.ok(&["kubeconfig", "--token-file", "token"]).await;
    assert!(
        document.contains("current-context: acme/app:prod"),
        "{document}"
    );
    assert!(
        !document.contains(token.trim()),
        "the job's own token stays with the job"
    );
}

#[tokio::test]
async fn check_tells_a_good_place_from_a_bad_one() {
    let place = Place::new();
    let fresh = place.ok(&["check"]).await;
    assert!(fresh.contains("warning store: "), "{fresh}");
    assert!(!place.path("state").exists(), "a check makes nothing");
    let nothing = place.fails(1, &["agent", "list"]).await;
    assert!(
        nothing.starts_with("there is no store in state_dir "),
        "{nothing}"
    );
    assert!(!place.path("state").exists(), "a list makes nothing");
    place.ok(&["agent", "create", "acme/infra:prod"]).await;
    let good = place.ok(&["check"]).await;
    for thing in [
        "configuration",
        "store",
        "certificate",
        "kubernetes_api.listen (TCP)",
        "agents.listen (UDP)",
        "audit",
    ] {
        assert!(good.contains(&format!("ok      {thing}: ")), "{good}");
    }
    place.write(
        "repository/acme/infra/.gitlab/agents/prod/config.yaml",
        "ci_access: {frojects: []}\n",
    );
    let bad = place.run(&["check"]).await;
    assert_eq!(bad.code, Some(1));
    let line = bad.stdout.lines().find(|line| line.starts_with("FAILED"));
    let line = line.unwrap_or_else(|| panic!("{}", bad.stdout));
    assert!(
        line.contains("agents/prod/config.yaml") && line.contains("frojects"),
        "{line}"
    );
}

/// Whichever command reads it: the message names the file and the field, and tells nothing twice.
#[tokio::test]
async fn a_bad_file_is_named_with_its_field() {
    let place = Place::new();
    for (text, says) in [
        (
            "ops: {lissten: 127.0.0.1:0}\n",
            "ops: unknown field `lissten`, expected `listen` at line 1 column 7",
        ),
        (
            "ops: {listen: nonsense}\n",
            "\"nonsense\" is not an address to listen on: write IP:PORT",
        ),
        ("timeouts: {hold: soon}\n", "timeouts.hold: "),
        ("threads: 0\n", "threads is 0: it must be from 1 to 1024"),
        (
            "kubernetes_api: {url: 'ftp://x'}\n",
            "kubernetes_api.url is \"ftp://x\": it must be `https://host`",
        ),
        (
            "kubernetes_api: {cleartext: 'yes'}\n",
            "kubernetes_api.cleartext is \"yes\": ",
        ),
        ("state_dir: []\n", "state_dir: invalid type: sequence"),
    ] {
        let file = place.write("bad.yaml", text);
        let file = file.to_str().unwrap();
        for command in [&["serve"][..], &["agent", "list"]] {
            let message = place
                .fails(1, &[&["--config", file], command].concat())
                .await;
            assert!(
                message.starts_with(&format!("{file}: ")) && message.contains(says),
                "{text}: {message}"
            );
        }
        let checked = place.run(&["--config", file, "check"]).await;
        assert_eq!((checked.code, checked.stderr.as_str()), (Some(1), ""));
        assert!(
            checked
                .stdout
                .starts_with(&format!("FAILED  configuration: {file}: ")),
            "{}",
            checked.stdout
        );
    }
    let missing = place.fails(1, &["--config", "none.yaml", "serve"]).await;
    assert_eq!(missing, "none.yaml: No such file or directory (os error 2)");
}
