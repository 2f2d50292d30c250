//! What `--help`, `--version` and `completions` print.

use crate::place::Place;

#[tokio::test]
async fn lists_commands_and_flags() {
    let place = Place::new();
    for (command, lists) in HELP {
        let mut arguments: Vec<&str> = command.split_whitespace().collect();
        arguments.push("--help");
        let help = place.ok(&arguments).await;
        let words: Vec<&str> = help
            .split(|c: char| c.is_whitespace() || ",[]()".contains(c))
            .collect();
        for wanted in lists.split_whitespace().chain([
            "--help",
            "--config",
            "--state-dir",
            "CI_TUNNEL_STATE_DIR=",
        ]) {
            assert!(
                words.contains(&wanted),
                "`{command} --help` does not list {wanted}:\n{help}"
            );
        }
        assert!(
            help.lines().all(|line| line.chars().count() <= 100),
            "{help}"
        );
    }
}

const JOB: &str = "--project --project-id --group-id --job-id --pipeline-id --pipeline-source --ref --ref-type \
                   --ref-protected --environment --environment-slug --environment-tier --environment-protected \
                   --user --user-id --user-email --user-role --provider";

const HELP: &[(&str, &str)] = &[
    (
        "",
        "serve check agent job-token explain audit kubeconfig completions --version",
    ),
    ("serve", ""),
    ("check", ""),
    ("agent", "create delete list show token"),
    ("agent create", "<PROJECT:NAME> --name --expires --json"),
    ("agent delete", "<AGENT>"),
    ("agent list", "--json"),
    ("agent show", "<AGENT> --json"),
    ("agent token", "create list revoke"),
    ("agent token create", "<AGENT> --name --expires --json"),
    ("agent token list", "<AGENT> --json"),
    ("agent token revoke", "<TOKEN"),
    ("job-token", "issue list revoke"),
    ("job-token issue", JOB),
    ("job-token issue", "--ttl"),
    ("job-token list", "--json"),
    ("job-token revoke", "<ID> --unlisted"),
    ("explain", JOB),
    (
        "explain",
        "AGENT --request --audit-file --token-file --file --format",
    ),
    (
        "kubeconfig",
        "--token-file --context --lifetime --json CI_TUNNEL_JOB_TOKEN.",
    ),
    ("audit", "verify query"),
    ("audit verify", "FILE --expect-last --key-file --json"),
    (
        "audit query",
        "FILE --request-id --job --project --agent --user --verb --resource --namespace --status --reason \
         --since --until --format",
    ),
    ("completions", "bash fish zsh"),
];

#[tokio::test]
async fn completes_in_every_shell() {
    let place = Place::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = place.ok(&["completions", shell]).await;
        for word in ["ci-tunnel-server", "job-token", "kubeconfig", "state-dir"] {
            assert!(
                script.contains(word),
                "{shell}: no {word} in {} bytes",
                script.len()
            );
        }
    }
    let message = place.fails(2, &["completions", "foosh"]).await;
    assert_eq!(message, "invalid value 'foosh' for '<SHELL>'");
    let broken = place.write("server.yaml", "no: such key\n");
    assert!(
        !place.ok(&["completions", "bash"]).await.is_empty(),
        "no need of {}",
        broken.display()
    );
}

#[tokio::test]
async fn tells_its_version() {
    let place = Place::new();
    let version = concat!("ci-tunnel-server ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(place.ok(&["--version"]).await, version);
}
