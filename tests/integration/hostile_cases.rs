//! Hostile requests, by what they try. Most stand for a published hole in some other proxy.

pub mod credentials;
pub mod framing;
pub mod heads;
pub mod identity;
pub mod paths;
pub mod upgrades;

use crate::hostile::{Case, Expect, H2, Wire};

/// Every case, the honest ones first.
pub fn all() -> Vec<Case> {
    [
        controls(),
        credentials::cases(),
        identity::forged(),
        identity::dropped(),
        identity::harmless(),
        paths::ambiguous(),
        paths::passed(),
        framing::cases(),
        heads::cases(),
        upgrades::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Honest requests, without which refusing everything would pass.
pub fn controls() -> Vec<Case> {
    let upgrade = "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n";
    vec![
        h1("honest over HTTP/1.1", "/small", "", Expect::Passes),
        h2("honest over HTTP/2", "/small", &[], Expect::Passes),
        h1(
            "honest upgrade",
            "/upgrade/echo",
            upgrade,
            Expect::Status(101),
        ),
        case(
            "honest upgrade by POST with an empty body, as kubectl exec over SPDY",
            "/upgrade/echo",
            Wire::H1(format!(
                "POST /upgrade/echo HTTP/1.1\r\n{HOST}{AUTH}{upgrade}Content-Length: 0\r\n\r\n"
            )),
            Expect::Status(101),
        ),
        h1(
            "dots in a query",
            "/small?path=/../%2e%2e//x;y",
            "",
            Expect::Passes,
        ),
    ]
}

const HOST: &str = "Host: {host}\r\n";
const AUTH: &str = "Authorization: Bearer {token}\r\n";
/// The value that must not arrive.
const EVIL: &str = "evil";

fn case(name: &'static str, target: &str, wire: Wire, expect: Expect) -> Case {
    Case {
        name,
        wire,
        target: target.to_owned(),
        expect,
        never: &[EVIL],
    }
}

/// A GET over HTTP/1.1 with a good token and more header lines.
fn h1(name: &'static str, target: &str, lines: &str, expect: Expect) -> Case {
    case(
        name,
        target,
        Wire::H1(format!("GET {target} HTTP/1.1\r\n{HOST}{AUTH}{lines}\r\n")),
        expect,
    )
}

/// A GET over HTTP/2 with a good token and more headers.
fn h2(name: &'static str, target: &str, more: &[(&str, &str)], expect: Expect) -> Case {
    case(
        name,
        target,
        Wire::H2(vec![H2::Headers(head("GET", target, more))]),
        expect,
    )
}

fn head(method: &str, target: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let usual = [
        (":method", method),
        (":scheme", "https"),
        (":authority", "{host}"),
        (":path", target),
        ("authorization", "Bearer {token}"),
    ];
    usual
        .iter()
        .chain(more)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
