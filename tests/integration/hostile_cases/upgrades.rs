//! Upgrades that are not, and what is sent after them: CVE-2018-1002105, CVE-2020-8559.

use super::{AUTH, HOST, case};
use crate::hostile::{Case, Expect, Wire};

pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        ("not switched, 200, then a second request", "/upgrade/200", 200),
        ("not switched, 302, then a second request", "/upgrade/302", 302),
        ("not switched, 400, then a second request", "/upgrade/400", 400),
        ("switched to another protocol, then a second request", "/upgrade/wrong-protocol", 502),
    ]
    .into_iter()
    .map(|(name, target, status)| {
        let second = "POST /smuggled HTTP/1.1\r\nHost: evil\r\nContent-Length: 4\r\n\r\nevil";
        case(name, target, Wire::H1(upgrade("GET", target, "", second)), Expect::Status(status))
    })
    .collect();
    let echo = "/upgrade/echo";
    let odd = |name, lines: &str, body: &str| {
        case(name, echo, Wire::H1Cut(upgrade("POST", echo, lines, body)), Expect::Refused(400))
    };
    cases.push(odd("an upgrade with a body", "Content-Length: 4\r\n", "evil"));
    cases.push(odd("an upgrade with chunks", "Transfer-Encoding: chunked\r\n", "4\r\nevil\r\n0\r\n\r\n"));
    cases.push(case(
        "an upgrade that Connection does not name",
        "/small",
        Wire::H1(format!("GET /small HTTP/1.1\r\n{HOST}{AUTH}Upgrade: evil/1\r\n\r\n")),
        Expect::Harmless,
    ));
    cases.push(case(
        "an upgrade to HTTP/2",
        "/small",
        Wire::H1(format!(
            "GET /small HTTP/1.1\r\n{HOST}{AUTH}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: evil\r\n\r\n"
        )),
        Expect::Harmless,
    ));
    cases
}

fn upgrade(method: &str, target: &str, lines: &str, after: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\n{HOST}{AUTH}Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n{lines}\r\n{after}")
}
