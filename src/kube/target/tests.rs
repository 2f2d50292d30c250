use proptest::prelude::*;

use super::*;

#[test]
fn ordinary_targets_pass() {
    for target in [
        "/",
        "/api",
        "/api/",
        "/version?timeout=32s",
        "/api/v1/namespaces/default/pods/web-0",
        "/api/v1/namespaces/default/pods?labelSelector=app%3Dweb%2Ctier%21%3Ddb&limit=500",
        "/api/v1/namespaces/default/pods/web/exec?command=sh&command=-c&command=echo%0A%5C%2F..%00",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node",
        "/api/v1/namespaces/default/configmaps/..data",
        "/api/v1/namespaces/default/configmaps/a.b...c",
        "/api/v1/namespaces/default/configmaps/...",
        "/openapi/v3/apis/apps/v1?hash=A%2FB",
        "/api/v1/namespaces/default/pods/x?continue=a//b/../c\\d",
    ] {
        assert_eq!(check_target(target.as_bytes()), Ok(()), "{target}");
    }
}

#[test]
fn an_application_behind_a_proxy_gets_its_own_path() {
    for target in [
        "/api/v1/namespaces/ns/services/https:web:443/proxy/a//b%2Fc%5Cd/",
        "/api/v1/namespaces/ns/pods/web/proxy//",
        "/api/v1/namespaces/ns/pods/web/proxy?q=100%&x=%zz",
        "/api/v1/nodes/n1/proxy/logs//x",
        "/api/v1/nodes/n1/proxy/api/v1/a%2fb",
        "/api/v1/proxy/nodes/n1/a//b",
        "/api/v1/proxy/namespaces/ns/services/web/a//b%2f",
        "/apis/core.example.io/v1/clustergateways/c1/proxy/a//b",
        "/apis/core.example.io/v1/namespaces/ns/things/c1/proxy/a//b",
        "/api/v1/nodes/n1/proxy/a..b/..c/...",
    ] {
        assert_eq!(check_target(target.as_bytes()), Ok(()), "{target}");
    }
}

#[test]
fn ambiguous_targets_are_refused() {
    use BadTarget::*;
    for (target, expected) in [
        ("", NotAbsolute),
        ("*", NotAbsolute),
        ("https://host/api", NotAbsolute),
        ("/api/v1/../../x", DotSegment),
        ("/api/v1/./pods", DotSegment),
        ("/api/v1/pods/..", DotSegment),
        ("/api/v1/pods/.", DotSegment),
        ("/..", DotSegment),
        ("/api/v1/%2e%2e/x", DotSegment),
        ("/api/v1/.%2E/x", DotSegment),
        ("/api/v1/%2E./x", DotSegment),
        ("/api/v1/%2e", DotSegment),
        ("/api/v1/nodes/n/proxy/../../x", DotSegment),
        ("/api/v1/nodes/n/proxy/%2e%2e/x", DotSegment),
        ("/api/v1/nodes/n/proxy/a%2f..%2fb", DotSegment),
        ("/api/v1/nodes/n/proxy/a%5c%2e%2e", DotSegment),
        ("/api/v1/nodes/n/proxy/a\\..\\b", DotSegment),
        ("/api/v1/nodes/n/proxy/./", DotSegment),
        ("/api/v1/nodes/n/proxy/..?x", DotSegment),
        ("/api//v1", EmptySegment),
        ("//api/v1", EmptySegment),
        ("/api/v1/pods//", EmptySegment),
        ("/api/v1/namespaces/ns/pods//proxy//x", EmptySegment),
        ("/api/v1/namespaces//pods/x/proxy//x", EmptySegment),
        ("/api/v1/pods/a%2fb", EncodedSlash),
        ("/api/v1/pods/a%2Fb", EncodedSlash),
        ("/api/v1/nodes/a%2Fb/proxy/x", EncodedSlash),
        ("/api/v1/nodes/n/prox%79/a%2Fb", EncodedSlash),
        ("/api/v1/nodes/n/proxyx/a//b", EmptySegment),
        ("/api/v1/namespaces/ns/proxy/a//b", EmptySegment),
        ("/api/v1/namespaces/proxy/pods/a//b", EmptySegment),
        ("/api/v1/namespaces/ns/status/x/proxy//b", EmptySegment),
        ("/api/v1/watch/nodes/proxy/a//b", EmptySegment),
        ("/proxy//x", EmptySegment),
        ("/x/y/z/w/proxy//x", EmptySegment),
        ("/api/v1/pods/a\\b", Backslash),
        ("/api/v1/pods/a%5cb", Backslash),
        ("/api/v1/pods/a%5Cb", Backslash),
        ("/api/v1/pods/a#b", Fragment),
        ("/api/v1/pods?a#b", Fragment),
        ("/api/v1/pods/a b", Control),
        ("/api/v1/pods/a\0b", Control),
        ("/api/v1/pods?a\nb", Control),
        ("/api/v1/pods/a\x7fb", Control),
        ("/api/v1/pods/a%00b", Control),
        ("/api/v1/pods/a%0ab", Control),
        ("/api/v1/pods/a%1Fb", Control),
        ("/api/v1/pods/a%7fb", Control),
        ("/api/v1/nodes/n/proxy/a%0d%0ab", Control),
        ("/api/v1/pods/a%", MalformedEscape),
        ("/api/v1/pods/a%2", MalformedEscape),
        ("/api/v1/pods/a%2gb", MalformedEscape),
        ("/api/v1/pods/a%u002e", MalformedEscape),
        ("/api/v1/nodes/n/proxy/100%", MalformedEscape),
        ("/api/v1/pods?labelSelector=%", MalformedEscape),
    ] {
        assert_eq!(check_target(target.as_bytes()), Err(expected), "{target:?}");
    }
}

/// What a reader that decodes first and splits afterwards would see.
fn decoded_segments(path: &[u8]) -> Vec<Vec<u8>> {
    let mut decoded = Vec::new();
    let mut rest = path;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let mut value = *byte;
        if *byte == b'%'
            && let Some((escaped, after)) = escape(rest)
        {
            (value, rest) = (escaped, after);
        }
        decoded.push(value);
    }
    decoded
        .split(|byte| *byte == b'/')
        .map(<[u8]>::to_vec)
        .collect()
}

proptest! {
    #[test]
    fn any_bytes_are_judged(target in proptest::collection::vec(any::<u8>(), 0..64)) {
        _ = check_target(&target);
    }

    #[test]
    fn what_passes_has_no_dot_segment_for_any_reader(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("/"), Just("."), Just(".."), Just("%2e"), Just("%2E"), Just("%2f"), Just("a"), Just("\\"),
                Just("api"), Just("v1"), Just("nodes"), Just("proxy"), Just("%"), Just("namespaces"), Just("?"),
            ],
            0..14,
        ),
        prefix in prop_oneof![Just("/"), Just("/api/v1/nodes/n/proxy/"), Just("/api/v1/")],
    ) {
        let target = format!("{prefix}{}", parts.concat());
        if check_target(target.as_bytes()).is_ok() {
            let path = target.split('?').next().unwrap();
            for segment in decoded_segments(path.as_bytes()) {
                prop_assert!(segment != b"." && segment != b"..", "{target}");
            }
        }
    }
}
