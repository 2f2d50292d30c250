//! What kubectl reads, what is refused, and that nothing breaks out of its quotes.

use serde_json::{Value, json};

use super::*;
use crate::identity::AgentId;

fn entry(id: u64, project: &str, name: &str, namespace: Option<&str>) -> Entry {
    Entry {
        agent: Agent {
            id: AgentId(id),
            project: project.parse().unwrap(),
            name: name.parse().unwrap(),
        },
        credential: Secret::new(&format!("secret-{id}")).unwrap(),
        namespace: namespace.map(str::to_owned),
    }
}

fn cluster(server: &str) -> Cluster {
    Cluster {
        server: server.to_owned(),
        ca_pem: Some("-----BEGIN CERTIFICATE-----\n".to_owned()),
    }
}

const SERVER: &str = "https://tunnel.example.com:8154/k8s-proxy";

#[test]
fn is_what_gitlab_writes_and_the_ca() {
    let entries = [
        entry(7, "acme/Infra", "prod", Some("shop")),
        entry(9, "acme/Infra", "dev", None),
    ];
    let expected = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "ci-tunnel", "cluster": {
            "server": SERVER,
            "certificate-authority-data": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==",
        }}],
        "users": [
            {"name": "agent:7", "user": {"token": "ci:7:secret-7"}},
            {"name": "agent:9", "user": {"token": "ci:9:secret-9"}},
        ],
        "contexts": [
            {"name": "acme/Infra:prod", "context": {"cluster": "ci-tunnel", "user": "agent:7", "namespace": "shop"}},
            {"name": "acme/Infra:dev", "context": {"cluster": "ci-tunnel", "user": "agent:9"}},
        ],
    });
    let yaml = document(&cluster(SERVER), &entries, None, Format::Yaml).unwrap();
    assert_eq!(load::from_str::<Value>(&yaml, "").unwrap(), expected);
    let json = document(&cluster(SERVER), &entries, None, Format::Json).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), expected);
}

#[test]
fn without_agents_or_ca_it_is_a_document_still() {
    let cluster = Cluster {
        server: SERVER.to_owned(),
        ca_pem: None,
    };
    let yaml = document(&cluster, &[], None, Format::Yaml).unwrap();
    let value: Value = load::from_str(&yaml, "").unwrap();
    assert_eq!(value["clusters"][0]["cluster"], json!({"server": SERVER}));
    assert_eq!(
        (&value["users"], &value["contexts"]),
        (&json!([]), &json!([]))
    );
}

#[test]
fn the_current_context_is_one_that_is_allowed() {
    let entries = [
        entry(7, "acme/Infra", "prod", None),
        entry(9, "acme/Infra", "dev", None),
    ];
    let yaml = document(
        &cluster(SERVER),
        &entries,
        Some("ACME/infra:prod"),
        Format::Yaml,
    )
    .unwrap();
    assert_eq!(
        load::from_str::<Value>(&yaml, "").unwrap()["current-context"],
        "acme/Infra:prod"
    );

    let only = document(&cluster(SERVER), &entries[1..], None, Format::Yaml).unwrap();
    assert_eq!(
        load::from_str::<Value>(&only, "").unwrap()["current-context"],
        "acme/Infra:dev"
    );

    let error = document(
        &cluster(SERVER),
        &entries,
        Some("acme/infra:test"),
        Format::Yaml,
    )
    .unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("\"acme/infra:test\"")
            && message.contains("acme/Infra:prod, acme/Infra:dev"),
        "{message}"
    );
    let message = document(&cluster(SERVER), &[], Some("x"), Format::Yaml)
        .unwrap_err()
        .to_string();
    assert!(message.ends_with("it may use none"), "{message}");
}

#[test]
fn refuses_addresses_that_kubectl_can_not_use() {
    for server in ["http://tunnel.example.com", "HTTP://tunnel.example.com"] {
        let error = document(&cluster(server), &[], None, Format::Yaml).unwrap_err();
        assert!(matches!(error, Error::Cleartext(_)), "{server}: {error}");
    }
    for server in [
        "",
        "tunnel.example.com",
        "https://",
        "https:///x",
        "https://u:p@host",
        "https://host?a=b",
        "https://host/#x",
        "ftp://host",
        "//host",
        "/x",
    ] {
        let error = document(&cluster(server), &[], None, Format::Yaml).unwrap_err();
        assert!(matches!(error, Error::Server(_)), "{server}: {error}");
    }
    for server in [
        "https://host",
        "https://[::1]:8154/",
        "HTTPS://host/prefix/",
    ] {
        document(&cluster(server), &[], None, Format::Yaml).unwrap();
    }
}

#[test]
fn odd_names_survive_yaml() {
    for odd in [
        "true", "no", "1e3", "0x1f", "0.5", "null", "~a", "- a", "a: b", "#x", "'", "\"", "{a}",
        "a\nb: c", "&a", "*a", "é", " a ",
    ] {
        let mut entry = entry(7, "1.5/true", "null", Some(odd));
        entry.credential = Secret::new(&format!("{odd}x: y # '\"")).unwrap();
        let yaml = document(&cluster(SERVER), &[entry.clone()], None, Format::Yaml).unwrap();
        let value: Value = load::from_str(&yaml, "").unwrap();
        assert_eq!(value["contexts"][0]["context"]["namespace"], odd);
        assert_eq!(value["contexts"][0]["name"], "1.5/true:null");
        let token = format!("ci:7:{}", entry.credential.expose());
        assert_eq!(value["users"][0]["user"]["token"], token);
    }
}

#[test]
fn debug_is_masked() {
    assert!(!format!("{:?}", entry(7, "a/b", "c", None)).contains("secret-7"));
}
