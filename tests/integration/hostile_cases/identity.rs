//! Identities that the job makes up: Rancher CVE-2021-31999 and CVE-2021-36776, kcp CVE-2026-61682, bored-agent, and the
//! `Connection` trick on Go's reverse proxy.

use super::{AUTH, EVIL, HOST, case, h1, h2, head};
use crate::hostile::{Case, Expect, H2, Wire};

/// Impersonation asked for by a job whose permit does not allow it.
pub fn forged() -> Vec<Case> {
    [whole(), malformed()].into_iter().flatten().collect()
}

fn whole() -> Vec<Case> {
    let group = "Impersonate-User: evil\r\nImpersonate-Group: system:masters\r\n";
    let extra =
        "Impersonate-User: evil\r\nImpersonate-Uid: evil\r\nImpersonate-Extra-Scopes: evil\r\n";
    let named = "Connection: impersonate-user\r\nImpersonate-User: evil\r\n";
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nImpersonate-User: evil\r\n";
    let over_h2 = [
        ("impersonate-user", EVIL),
        ("impersonate-group", "system:masters"),
    ];
    let refused = Expect::Status(403);
    vec![
        h1(
            "Impersonate-User",
            "/small",
            "Impersonate-User: evil\r\n",
            refused,
        ),
        h1(
            "impersonate-user",
            "/small",
            "impersonate-user: evil\r\n",
            refused,
        ),
        h1(
            "IMPERSONATE-USER",
            "/small",
            "IMPERSONATE-USER: evil\r\n",
            refused,
        ),
        h1(
            "iMPERSONATE-uSER",
            "/small",
            "iMPERSONATE-uSER: evil\r\n",
            refused,
        ),
        h1("user and group", "/small", group, refused),
        h1("user, uid and extra", "/small", extra, refused),
        h1("a user named by Connection", "/small", named, refused),
        h1(
            "Impersonate-User on an upgrade",
            "/upgrade/echo",
            upgrade,
            refused,
        ),
        h2("Impersonate-User over HTTP/2", "/small", &over_h2, refused),
    ]
}

/// What no API server would take: refused as malformed or as forbidden.
fn malformed() -> Vec<Case> {
    [
        ("Impersonate-Group alone", "Impersonate-Group: evil\r\n"),
        ("Impersonate-Uid alone", "Impersonate-Uid: evil\r\n"),
        (
            "Impersonate-Extra alone",
            "Impersonate-Extra-Scopes: evil\r\n",
        ),
        (
            "Impersonate-Extra with a percent",
            "Impersonate-Extra-%73copes: evil\r\n",
        ),
        (
            "user twice",
            "Impersonate-User: good\r\nImpersonate-User: evil\r\n",
        ),
        (
            "an empty user",
            "Impersonate-User:\r\nImpersonate-Group: evil\r\n",
        ),
    ]
    .into_iter()
    .map(|(name, lines)| h1(name, "/small", lines, Expect::OneOf(&[400, 403])))
    .collect()
}

/// What never becomes an identity, nor takes one away.
pub fn harmless() -> Vec<Case> {
    [spellings(), connection_tricks(), in_trailers()]
        .into_iter()
        .flatten()
        .collect()
}

/// What is left out without a word.
pub fn dropped() -> Vec<Case> {
    [
        ("X-Remote-User", "X-Remote-User: evil\r\n"),
        ("x-remote-group in odd case", "x-ReMoTe-gRoUp: evil\r\n"),
        ("X-Remote-Extra", "X-Remote-Extra-Scopes: evil\r\n"),
        ("X-Remote-Uid", "X-Remote-Uid: evil\r\n"),
        ("X_Remote_User", "X_Remote_User: evil\r\n"),
        ("X-Forwarded-For", "X-Forwarded-For: evil\r\n"),
        ("X-Forwarded-Host", "X-Forwarded-Host: evil.example\r\n"),
        ("X-Forwarded-User", "X-Forwarded-User: evil\r\n"),
        (
            "X-Forwarded-Client-Cert",
            "X-Forwarded-Client-Cert: evil\r\n",
        ),
        ("Forwarded", "Forwarded: for=evil\r\n"),
        ("a cookie", "Cookie: session=evil\r\n"),
        (
            "Proxy-Authorization",
            "Proxy-Authorization: Bearer evil\r\n",
        ),
        ("Proxy-Connection", "Proxy-Connection: evil\r\n"),
        ("Keep-Alive", "Keep-Alive: evil\r\n"),
    ]
    .into_iter()
    .map(|(name, lines)| h1(name, "/small", lines, Expect::Passes))
    .chain([
        h2(
            "X-Remote-User over HTTP/2",
            "/small",
            &[("x-remote-user", EVIL), ("x-remote-group", EVIL)],
            Expect::Passes,
        ),
        h2(
            "cookies in pieces over HTTP/2",
            "/small",
            &[("cookie", "a=evil"), ("cookie", "b=evil")],
            Expect::Passes,
        ),
    ])
    .collect()
}

/// Refused or dropped: both are right, as long as no API server could read them as an identity.
fn spellings() -> Vec<Case> {
    [
        ("Impersonate_User", "Impersonate_User: evil\r\n"),
        (
            "impersonate-extra_scopes",
            "impersonate-extra_scopes: evil\r\n",
        ),
        (
            "Impersonate_Group and a user",
            "Impersonate_Group: evil\r\nImpersonate_User: evil\r\n",
        ),
        (
            "an unknown Impersonate- header",
            "Impersonate-Everyone: evil\r\n",
        ),
    ]
    .into_iter()
    .map(|(name, lines)| h1(name, "/small", lines, Expect::Harmless))
    .chain([Case {
        never: &["impersonate-user: evil"],
        ..h1(
            "a percent-encoded name",
            "/small",
            "Impersonate%2DUser: evil\r\nImpersonate-%55ser: evil\r\n",
            Expect::Harmless,
        )
    }])
    .collect()
}

/// `Connection` names what a proxy must drop: the proxy's own headers must outlive that.
fn connection_tricks() -> Vec<Case> {
    let ours = "Connection: impersonate-user, impersonate-group, authorization\r\nConnection: Impersonate-Uid\r\n";
    let on_upgrade = format!("{ours}Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n");
    vec![
        h1(
            "Connection names our headers",
            "/small",
            ours,
            Expect::Passes,
        ),
        h1(
            "Connection names our headers on an upgrade",
            "/upgrade/echo",
            &on_upgrade,
            Expect::Status(101),
        ),
        h1(
            "Connection in odd case",
            "/small",
            "cOnNeCtIoN: AUTHORIZATION,,IMPERSONATE-USER , \t\r\n",
            Expect::Passes,
        ),
        h1(
            "what Connection names",
            "/small",
            "Connection: keep-alive, x-custom\r\nX-Custom: evil\r\n",
            Expect::Passes,
        ),
        h1(
            "Connection: close, host",
            "/small",
            "Connection: close, host, content-length\r\n",
            Expect::Passes,
        ),
    ]
}

fn in_trailers() -> Vec<Case> {
    let chunked = "Transfer-Encoding: chunked\r\nTrailer: Impersonate-User, X-Remote-User\r\n\r\n3\r\nabc\r\n0\r\n";
    let trailers = "Impersonate-User: evil\r\nX-Remote-User: evil\r\nAuthorization: Bearer evil\r\nCookie: evil\r\n\r\n";
    let h1 = format!("POST /status/200 HTTP/1.1\r\n{HOST}{AUTH}{chunked}{trailers}");
    let late = |name: &str| (name.to_owned(), EVIL.to_owned());
    let h2 = vec![
        H2::Headers(head(
            "POST",
            "/status/200",
            &[("trailer", "impersonate-user")],
        )),
        H2::Data("abc"),
        H2::Headers(
            [
                "impersonate-user",
                "impersonate-group",
                "x-remote-user",
                "authorization",
            ]
            .map(late)
            .to_vec(),
        ),
    ];
    vec![
        case(
            "identities in trailers",
            "/status/200",
            Wire::H1(h1),
            Expect::Harmless,
        ),
        case(
            "identities in trailers over HTTP/2",
            "/status/200",
            Wire::H2(h2),
            Expect::Harmless,
        ),
    ]
}
