//! Paths that two readers could read in two ways.

use super::{h1, h2};
use crate::hostile::{Case, Expect};

/// Refused with 400.
pub fn ambiguous() -> Vec<Case> {
    let mut cases: Vec<Case> = AMBIGUOUS
        .into_iter()
        .map(|(name, path)| h1(name, path, "", Expect::Status(400)))
        .collect();
    cases.push(h2(
        "dot dot over HTTP/2",
        "/api/v1/namespaces/default/../x",
        &[],
        Expect::Status(400),
    ));
    cases.push(h2(
        "an encoded slash over HTTP/2",
        "/api/v1/namespaces/default%2fpods",
        &[],
        Expect::Status(400),
    ));
    cases
}

/// Passed byte for byte, or refused: never rewritten. The runner sees to that.
pub fn passed() -> Vec<Case> {
    let app = "/api/v1/namespaces/default/services/web/proxy/a%2Fb//c;d=1/%25%c3%bc?q=%2e%2e/";
    vec![
        h1(
            "an application's own path behind a proxy subresource",
            app,
            "",
            Expect::Passes,
        ),
        h1("a semicolon", "/api/v1;x=1/pods", "", Expect::Harmless),
        h1(
            "dot dot and a semicolon",
            "/api/v1/namespaces/default/..;/kube-system/pods",
            "",
            Expect::Harmless,
        ),
        h1(
            "a backslash",
            "/api/v1/namespaces/default\\..\\kube-system",
            "",
            Expect::Refused(400),
        ),
        h1(
            "an encoded backslash",
            "/api/v1/namespaces/default%5c..%5ckube-system",
            "",
            Expect::Harmless,
        ),
        h1(
            "dots encoded twice",
            "/api/v1/%252e%252e/pods",
            "",
            Expect::Harmless,
        ),
        h1(
            "overlong UTF-8 dots",
            "/api/v1/%c0%ae%c0%ae/pods",
            "",
            Expect::Harmless,
        ),
        h1(
            "three dots",
            "/api/v1/namespaces/.../pods",
            "",
            Expect::Harmless,
        ),
        Case {
            target: "/small".to_owned(),
            ..h1("a fragment", "/small#/../evil", "", Expect::Harmless)
        },
    ]
}

const AMBIGUOUS: [(&str, &str); 21] = [
    ("dot dot", "/api/v1/namespaces/default/../kube-system/pods"),
    ("dot dot at the end", "/api/v1/namespaces/default/.."),
    ("dot dot at the start", "/../api/v1/pods"),
    ("one dot", "/api/./v1/pods"),
    (
        "encoded dot dot",
        "/api/v1/namespaces/default/%2e%2e/kube-system/pods",
    ),
    (
        "half encoded dot dot",
        "/api/v1/namespaces/default/.%2e/kube-system/pods",
    ),
    (
        "half encoded dot dot in capitals",
        "/api/v1/namespaces/default/%2E./kube-system/pods",
    ),
    ("an encoded dot", "/api/%2e/v1/pods"),
    ("an encoded slash", "/api/v1/namespaces/default%2fpods"),
    (
        "an encoded slash in capitals",
        "/api/v1/namespaces/default%2Fpods",
    ),
    (
        "dot dot and encoded slashes",
        "/api/v1/namespaces/default/..%2f..%2fsecrets",
    ),
    ("two slashes at the start", "//api/v1/pods"),
    ("two slashes within", "/api/v1//pods"),
    (
        "two slashes where a namespace stands",
        "/api/v1/namespaces//pods",
    ),
    ("an encoded NUL", "/api/v1/pods%00"),
    (
        "encoded line ends",
        "/api/v1/pods%0d%0aImpersonate-User:%20evil",
    ),
    ("an encoded DEL", "/api/v1/pods%7f"),
    ("a percent without digits", "/api/v1/pods/%zz"),
    ("a percent at the end", "/api/v1/pods/%2"),
    (
        "dot dot behind a proxy subresource",
        "/api/v1/namespaces/default/services/web/proxy/../../../secrets",
    ),
    (
        "encoded dot dot behind a proxy subresource",
        "/api/v1/namespaces/default/services/web/proxy/%2e%2e/%2e%2e/x",
    ),
];
