//! Who asks without a right to: no credential, a garbled one, one for another agent, one in the wrong place.

use super::{HOST, case, h1};
use crate::hostile::{Case, Expect, Wire};

pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = UNAUTHENTICATED
        .into_iter()
        .map(|(name, line)| without_token(name, "/small", line, Expect::Status(401)))
        .collect();
    cases.push(without_token(
        "the token in the query",
        "/small?access_token={token}",
        "",
        Expect::Status(401),
    ));
    cases.push(without_token(
        "a job at another's agent",
        "/small",
        "Authorization: Bearer {other}\r\n",
        Expect::Status(403),
    ));
    cases.push(h1(
        "a second credential",
        "/small",
        "Authorization: Bearer evil\r\n",
        Expect::Refused(401),
    ));
    cases.push(without_token(
        "a second credential that is good",
        "/small",
        "Authorization: Bearer evil\r\nAuthorization: Bearer {token}\r\n",
        Expect::Refused(401),
    ));
    cases
}

fn without_token(name: &'static str, target: &str, lines: &str, expect: Expect) -> Case {
    case(
        name,
        target,
        Wire::H1(format!("GET {target} HTTP/1.1\r\n{HOST}{lines}\r\n")),
        expect,
    )
}

/// Not one of these is a credential for the front.
const UNAUTHENTICATED: [(&str, &str); 17] = [
    ("no credential", ""),
    ("basic", "Authorization: Basic Y2k6Y2k=\r\n"),
    ("a scheme alone", "Authorization: Bearer\r\n"),
    ("an empty token", "Authorization: Bearer \r\n"),
    ("a token that is not ours", "Authorization: Bearer abc\r\n"),
    ("a prefix alone", "Authorization: Bearer ci:\r\n"),
    ("no job credential", "Authorization: Bearer ci:1\r\n"),
    ("an empty job credential", "Authorization: Bearer ci:1:\r\n"),
    (
        "an agent id that is no number",
        "Authorization: Bearer ci:one:evil\r\n",
    ),
    (
        "an agent id out of range",
        "Authorization: Bearer ci:99999999999999999999999:evil\r\n",
    ),
    (
        "a negative agent id",
        "Authorization: Bearer ci:-1:evil\r\n",
    ),
    (
        "a good token with a tail",
        "Authorization: Bearer {token}x\r\n",
    ),
    (
        "a good token twice in one value",
        "Authorization: Bearer {token}, Bearer {token}\r\n",
    ),
    ("the token in a cookie", "Cookie: token={token}\r\n"),
    (
        "the token in another header",
        "Proxy-Authorization: Bearer {token}\r\n",
    ),
    (
        "the name of the header with _",
        "Authorization_: Bearer {token}\r\n",
    ),
    (
        "the token as a WebSocket protocol",
        "Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.e3Rva2VufQ\r\n",
    ),
];
