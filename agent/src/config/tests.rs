//! Precedence, checks and their messages, and the shipped example.

use std::collections::HashMap;
use std::path::Path;

use super::*;

const PIN: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn variables(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> + use<> {
    let pod = [
        (incluster::HOST_VARIABLE, "10.96.0.1"),
        (incluster::PORT_VARIABLE, "443"),
    ];
    let all: HashMap<String, String> = pod
        .iter()
        .chain(pairs)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    move |name| all.get(name).cloned()
}

fn from_file(text: &str, flags: &Flags) -> Result<Config, Error> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.yaml");
    std::fs::write(&path, text).unwrap();
    load(
        &Flags {
            config: Some(path),
            ..flags.clone()
        },
        variables(&[]),
    )
}

fn minimal() -> Flags {
    Flags {
        server: Some("t.example.com".to_owned()),
        token_file: Some(PathBuf::from("/token")),
        ..Flags::default()
    }
}

#[test]
fn flags_alone_are_enough() {
    let config = load(&minimal(), variables(&[("POD_NAME", "agent-0")])).unwrap();
    assert_eq!(config.server.to_string(), "t.example.com:8155");
    assert_eq!(
        (config.server_name.as_str(), config.pod.as_deref()),
        ("t.example.com", Some("agent-0"))
    );
    assert!(matches!(config.trust, Trust::System));
    assert!(matches!(config.upstream.source, Source::InCluster(_)));
    assert_eq!(config.ops, Some("127.0.0.1:8081".parse().unwrap()));
}

#[test]
fn flags_win_over_the_file() {
    let text = format!(
        "{{server: file.example.com, pin: '{PIN}', token: {{env: FILE_TOKEN}}, drain_timeout: 1m, ops: off, \
         log: {{level: debug}}, upstream: {{kubeconfig: /file/kubeconfig, context: a}}}}"
    );
    let config = from_file(&text, &Flags::default()).unwrap();
    assert_eq!(
        (config.server.host.as_str(), config.ops),
        ("file.example.com", None)
    );
    assert!(matches!(config.trust, Trust::Pin(_)));
    let flags = Flags {
        ca_file: Some(PathBuf::from("/ca.pem")),
        drain_timeout: Some("5s".to_owned()),
        ops: Some("0.0.0.0:9".to_owned()),
        log_level: Some("warn".to_owned()),
        context: Some("b".to_owned()),
        ..minimal()
    };
    let config = from_file(&text, &flags).unwrap();
    assert_eq!(config.server.host, "t.example.com");
    assert!(
        matches!(config.trust, Trust::CaFile(_)),
        "a ca_file on the command line replaces the file's pin"
    );
    assert_eq!(config.token, SecretSource::File(PathBuf::from("/token")));
    assert_eq!(config.drain_timeout, Duration::from_secs(5));
    assert_eq!(config.ops, Some("0.0.0.0:9".parse().unwrap()));
    assert_eq!(config.log.level, "warn");
    let Source::Kubeconfig(selection) = config.upstream.source else {
        panic!("{:?}", config.upstream.source)
    };
    assert_eq!(selection.context.as_deref(), Some("b"));
}

#[test]
fn the_token_variable_wins_over_the_file_and_is_not_printed() {
    let flags = Flags {
        token_file: None,
        ..minimal()
    };
    let config = load(&flags, variables(&[(TOKEN_VARIABLE, "s3cret")])).unwrap();
    assert_eq!(config.token, SecretSource::Env(TOKEN_VARIABLE.to_owned()));
    let config = from_file("token: s3cret", &flags).unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn errors_name_the_field_and_the_remedy() {
    let pinned = format!("{{pin: '{PIN}', ca_file: /ca.pem}}");
    for (text, part) in [
        ("sever: x", "sever"),
        ("server: https://t.example.com", "write \"t.example.com\""),
        ("pin: sha256:abc", "pin"),
        (pinned.as_str(), "keep one"),
        ("ops: '8081'", "127.0.0.1:8081"),
        ("upstream: {context: a}", "upstream.kubeconfig"),
        (
            "upstream: {kubeconfig: /k, service_account_dir: /s}",
            "keep one",
        ),
        ("upstream: {response_timeout: 0s}", "response_timeout"),
        ("upstream: {kubconfig: /k}", "kubconfig"),
        ("threads: 0", "threads"),
        ("watchdog: 1s", "watchdog"),
        ("drain_timeout: soon", "drain_timeout"),
        ("quic: {keep_alive: 1h}", "quic.keep_alive"),
    ] {
        let flags = if text.starts_with("server") {
            Flags {
                server: None,
                ..minimal()
            }
        } else {
            minimal()
        };
        let error = from_file(text, &flags).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn what_is_missing_is_named_with_the_ways_to_give_it() {
    let nothing = load(&Flags::default(), variables(&[]))
        .unwrap_err()
        .to_string();
    assert!(
        nothing.contains("server") && nothing.contains("CI_TUNNEL_SERVER"),
        "{nothing}"
    );
    let tokenless = load(
        &Flags {
            token_file: None,
            ..minimal()
        },
        variables(&[]),
    )
    .unwrap_err()
    .to_string();
    assert!(
        tokenless.contains("token") && tokenless.contains("CI_TUNNEL_TOKEN"),
        "{tokenless}"
    );
    let outside = load(&minimal(), |_| None).unwrap_err().to_string();
    assert!(outside.contains("upstream.kubeconfig"), "{outside}");
    let missing = Flags {
        config: Some(PathBuf::from("/nowhere/agent.yaml")),
        ..minimal()
    };
    assert!(
        load(&missing, variables(&[]))
            .unwrap_err()
            .to_string()
            .contains("/nowhere/agent.yaml")
    );
}

#[test]
fn the_example_loads_and_shows_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/agent.yaml");
    let shown: File = load::from_file(&path).unwrap();
    let defaults = File::default();
    assert_eq!((&shown.quic, &shown.log), (&defaults.quic, &defaults.log));
    assert_eq!(
        (shown.drain_timeout, shown.watchdog),
        (defaults.drain_timeout, defaults.watchdog)
    );
    assert_eq!(
        shown.upstream.response_timeout,
        defaults.upstream.response_timeout
    );
    assert_eq!(
        (shown.threads, shown.upstream.max_idle),
        (defaults.threads, defaults.upstream.max_idle)
    );
    load(
        &Flags {
            config: Some(path),
            ..Flags::default()
        },
        variables(&[]),
    )
    .unwrap();
}
