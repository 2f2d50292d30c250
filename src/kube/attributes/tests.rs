use proptest::prelude::*;

use super::*;

/// Requests and what the `RequestInfoFactory` of k8s.io/apiserver v0.37.2 says of them.
const CASES: &str = include_str!("cases.tsv");

fn of(method: &str, target: &str, upgrade: bool) -> Attributes {
    let (path, query) = target
        .split_once('?')
        .map_or((target, None), |(path, query)| (path, Some(query)));
    Attributes::of(&method.parse().unwrap(), path, query, upgrade)
}

#[test]
fn reads_requests_as_the_api_server_does() {
    for line in CASES.lines() {
        let [
            method,
            target,
            verb,
            group,
            version,
            resource,
            subresource,
            namespace,
            name,
            non_resource,
        ] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let read = of(method, target, false);
        let read = [
            &read.verb,
            read.api_group.as_str(),
            &read.version,
            &read.resource,
            &read.subresource,
            &read.namespace,
            &read.name,
            &read.non_resource.to_string(),
        ];
        let expected = [
            verb,
            group,
            version,
            resource,
            subresource,
            namespace,
            name,
            non_resource,
        ];
        assert_eq!(read, expected, "{method} {target}");
    }
}

#[test]
fn an_upgrade_of_an_interactive_subresource_is_a_create() {
    for (method, target, verb) in [
        (
            "GET",
            "/api/v1/namespaces/ns/pods/web/exec?command=sh",
            "create",
        ),
        ("GET", "/api/v1/namespaces/ns/pods/web/attach", "create"),
        (
            "GET",
            "/api/v1/namespaces/ns/pods/web/portforward",
            "create",
        ),
        ("GET", "/api/v1/nodes/n/proxy/exec/ns/web/c", "create"),
        ("POST", "/api/v1/namespaces/ns/pods/web/exec", "create"),
        ("GET", "/api/v1/namespaces/ns/pods/web/log", "get"),
        ("GET", "/api/v1/pods?watch=1", "watch"),
        ("GET", "/healthz", "get"),
    ] {
        assert_eq!(of(method, target, true).verb, verb, "{target}");
    }
    assert_eq!(
        of("GET", "/api/v1/namespaces/ns/pods/web/exec", false).verb,
        "get"
    );
}

#[test]
fn keeps_the_decoded_path() {
    assert_eq!(
        of("GET", "/api/v1/pods/a%20b%c3%a9?x=1", false).path,
        "/api/v1/pods/a b\u{e9}"
    );
    assert_eq!(
        of("GET", "/api/v1/pods/a%zz", false).path,
        "/api/v1/pods/a%zz"
    );
}

proptest! {
    #[test]
    fn any_text_is_read(path in "\\PC{0,60}", query in proptest::option::of("\\PC{0,60}"), upgrade: bool) {
        _ = Attributes::of(&Method::GET, &path, query.as_deref(), upgrade);
    }

    #[test]
    fn any_path_of_the_api_is_read(parts in proptest::collection::vec("(namespaces|watch|proxy|status|%|/|a)", 0..8)) {
        let path = format!("/api/v1/{}", parts.join("/"));
        prop_assert!(Attributes::of(&Method::DELETE, &path, None, true).api_group.is_empty());
    }
}
