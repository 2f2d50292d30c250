//! Upgrades that are not, and what is sent after them: CVE-2018-1002105, CVE-2020-8559.

use super::{AUTH, HOST, case, h1};
use crate::hostile::{Case, Expect, Wire};

pub fn cases() -> Vec<Case> {
    [second_requests(), odd()].into_iter().flatten().collect()
}

/// Answered with something else than the switch, and followed at once by a request that must not ride on it.
pub fn second_requests() -> Vec<Case> {
    [
        (
            "not switched, 200, then a second request",
            "/upgrade/200",
            200,
        ),
        (
            "not switched, 302, then a second request",
            "/upgrade/302",
            302,
        ),
        (
            "not switched, 400, then a second request",
            "/upgrade/400",
            400,
        ),
        (
            "switched to another protocol, then a second request",
            "/upgrade/wrong-protocol",
            502,
        ),
    ]
    .into_iter()
    .map(|(name, target, status)| {
        let second = "POST /smuggled HTTP/1.1\r\nHost: evil\r\nContent-Length: 4\r\n\r\nevil";
        case(
            name,
            target,
            Wire::H1(upgrade("GET", target, "", second)),
            Expect::Status(status),
        )
    })
    .collect()
}

fn odd() -> Vec<Case> {
    let echo = "/upgrade/echo";
    let with_body = |name, lines: &str, body: &str| {
        case(
            name,
            echo,
            Wire::H1(upgrade("POST", echo, lines, body)),
            Expect::Status(400),
        )
    };
    let unnamed = "Upgrade: evil/1\r\n";
    let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: evil\r\n";
    let chunks = "4\r\nevil\r\n0\r\n\r\n";
    vec![
        with_body("an upgrade with a body", "Content-Length: 4\r\n", "evil"),
        with_body(
            "an upgrade with chunks",
            "Transfer-Encoding: chunked\r\n",
            chunks,
        ),
        h1(
            "an upgrade that Connection does not name",
            "/small",
            unnamed,
            Expect::Harmless,
        ),
        h1("an upgrade to HTTP/2", "/small", h2c, Expect::Harmless),
    ]
}

fn upgrade(method: &str, target: &str, lines: &str, after: &str) -> String {
    format!(
        "{method} {target} HTTP/1.1\r\n{HOST}{AUTH}Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n{lines}\r\n{after}"
    )
}
