//! Where a message ends, told in two ways: request smuggling, and HTTP/2 heads that would change meaning in HTTP/1.1
//! (RUSTSEC-2021-0078, -0079, -0020; CVE-2026-58150).
//!
//! The tunnel never forwards a raw head, so reading such a message in one well-defined way is harmless too; the smuggled request
//! then is a request like any other, and has no credential.

use super::{AUTH, EVIL, HOST, case, h2, head};
use crate::hostile::{Case, Expect, H2, Wire};

pub fn cases() -> Vec<Case> {
    [parsed(), targets()].into_iter().flatten().collect()
}

/// What the HTTP library itself must see to.
pub fn parsed() -> Vec<Case> {
    [lengths(), chunks(), chunk_sizes(), lines(), http2()]
        .into_iter()
        .flatten()
        .collect()
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n";
const REFUSED: Expect = Expect::Refused(400);
const HARMLESS: Expect = Expect::Harmless;

fn post(name: &'static str, lines: &str, body: &str, expect: Expect) -> Case {
    let head = format!("POST /status/200 HTTP/1.1\r\n{HOST}{AUTH}{lines}\r\n");
    case(name, "/status/200", Wire::H1Cut(head + body), expect)
}

fn lengths() -> Vec<Case> {
    [
        (
            "two lengths",
            "Content-Length: 0\r\nContent-Length: 39\r\n",
            REFUSED,
        ),
        (
            "two lengths in one value",
            "Content-Length: 0, 39\r\n",
            REFUSED,
        ),
        (
            "the same length twice",
            "Content-Length: 0\r\nContent-Length: 0\r\n",
            HARMLESS,
        ),
        ("a length with a sign", "Content-Length: +0\r\n", REFUSED),
        ("a negative length", "Content-Length: -1\r\n", REFUSED),
        ("a length in hex", "Content-Length: 0x10\r\n", REFUSED),
        (
            "a length beyond 64 bits",
            "Content-Length: 99999999999999999999999\r\n",
            REFUSED,
        ),
        (
            "a length longer than the body",
            "Content-Length: 1000\r\n",
            HARMLESS,
        ),
    ]
    .into_iter()
    .map(|(name, lines, expect)| post(name, lines, SMUGGLED, expect))
    .collect()
}

fn chunks() -> Vec<Case> {
    let body = format!("0\r\n\r\n{SMUGGLED}");
    [
        (
            "length and chunks",
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            HARMLESS,
        ),
        (
            "chunks and length",
            "Transfer-Encoding: chunked\r\nContent-Length: 44\r\n",
            HARMLESS,
        ),
        ("chunked, x", "Transfer-Encoding: chunked, x\r\n", REFUSED),
        ("x, chunked", "Transfer-Encoding: x, chunked\r\n", HARMLESS),
        ("an unknown coding", "Transfer-Encoding: x\r\n", REFUSED),
        (
            "chunked twice",
            "Transfer-Encoding: chunked, chunked\r\n",
            HARMLESS,
        ),
        (
            "chunked, then identity",
            "Transfer-Encoding: chunked, identity\r\n",
            REFUSED,
        ),
        (
            "a space before the colon",
            "Transfer-Encoding : chunked\r\n",
            REFUSED,
        ),
        (
            "a tab before chunked",
            "Transfer-Encoding:\tchunked\r\n",
            HARMLESS,
        ),
        (
            "a vertical tab before chunked",
            "Transfer-Encoding: \x0bchunked\r\n",
            REFUSED,
        ),
    ]
    .into_iter()
    .map(|(name, lines, expect)| post(name, lines, &body, expect))
    .collect()
}

fn chunk_sizes() -> Vec<Case> {
    [
        ("a huge chunk", "ffffffffffffffff\r\n"),
        ("a chunk beyond 64 bits", "10000000000000000\r\n"),
        ("a chunk size with a sign", "+0\r\n\r\n"),
        ("a chunk size in another base", "0x0\r\n\r\n"),
        ("a chunk without its end", "3\r\nabcd\r\n0\r\n\r\n"),
        ("a chunk extension with a bare LF", "0;a=b\n\r\n"),
        ("a last chunk with a bare LF", "0\n\n"),
    ]
    .into_iter()
    .map(|(name, body)| {
        post(
            name,
            "Transfer-Encoding: chunked\r\n",
            &format!("{body}{SMUGGLED}"),
            HARMLESS,
        )
    })
    .collect()
}

fn lines() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        (
            "a folded line",
            "X-A: b\r\n Impersonate-User: evil\r\n",
            REFUSED,
        ),
        (
            "an identity behind a bare LF",
            "X-A: b\nImpersonate-User: good\r\n",
            HARMLESS,
        ),
        (
            "an identity behind a bare CR",
            "X-A: b\rImpersonate-User: evil\r\n",
            REFUSED,
        ),
        ("NUL in a value", "X-A: b\0evil\r\n", REFUSED),
        ("NUL in a name", "Impersonate-User\0: evil\r\n", REFUSED),
        ("a space in a name", "Impersonate-User : evil\r\n", REFUSED),
        ("a line without a colon", "evil\r\n", REFUSED),
        ("a line without a name", ": evil\r\n", REFUSED),
    ]
    .into_iter()
    .map(|(name, lines, expect)| {
        let head = format!("GET /small HTTP/1.1\r\n{HOST}{AUTH}{lines}\r\n");
        case(name, "/small", Wire::H1Cut(head), expect)
    })
    .collect();
    let usual = format!("{HOST}{AUTH}\r\n");
    let folded = format!("GET /small HTTP/1.1\r\n Impersonate-User: evil\r\n{usual}");
    let bare = format!("GET /small HTTP/1.1\n{HOST}{AUTH}\nGET /smuggled HTTP/1.1\n\n");
    let old =
        format!("POST /small HTTP/1.0\r\nTransfer-Encoding: chunked\r\n{usual}0\r\n\r\n{SMUGGLED}");
    let mut whole =
        |name, text: String, expect| cases.push(case(name, "/small", Wire::H1Cut(text), expect));
    whole("a folded first line", folded, REFUSED);
    whole("bare LF everywhere", bare, HARMLESS);
    whole(
        "an unknown version",
        format!("GET /small HTTP/9.9\r\n{usual}"),
        REFUSED,
    );
    whole("HTTP/0.9", "GET /small\r\n\r\n".to_owned(), REFUSED);
    whole("HTTP/1.0 with chunks", old, HARMLESS);
    whole(
        "not HTTP at all",
        "\x16\x03\x01\x02\0evil evil evil\r\n\r\n".to_owned(),
        REFUSED,
    );
    cases
}

fn targets() -> Vec<Case> {
    [
        (
            "an absolute target",
            "GET https://evil.example/small",
            HOST,
            HARMLESS,
        ),
        (
            "an absolute target with a user",
            "GET http://evil@127.0.0.1/small",
            HOST,
            HARMLESS,
        ),
        ("a target without a slash", "GET small", HOST, REFUSED),
        (
            "an authority as the target",
            "GET evil.example:443",
            HOST,
            REFUSED,
        ),
        ("CONNECT", "CONNECT evil.example:443", HOST, HARMLESS),
        ("OPTIONS *", "OPTIONS *", HOST, HARMLESS),
        ("a space in the target", "GET /small evil", HOST, REFUSED),
        (
            "another host",
            "GET /small",
            "Host: evil.example\r\n",
            HARMLESS,
        ),
        (
            "two hosts",
            "GET /small",
            "Host: {host}\r\nHost: evil.example\r\n",
            HARMLESS,
        ),
        ("no host", "GET /small", "", HARMLESS),
        (
            "a host with a path",
            "GET /small",
            "Host: evil.example/../x\r\n",
            HARMLESS,
        ),
    ]
    .into_iter()
    .map(|(name, line, host, expect)| {
        let head = format!("{line} HTTP/1.1\r\n{host}{AUTH}\r\n");
        case(name, "/small", Wire::H1(head), expect)
    })
    .chain([h2(
        "another host over HTTP/2",
        "/small",
        &[("host", "evil.example")],
        HARMLESS,
    )])
    .collect()
}

fn http2() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        ("connection over HTTP/2", ("connection", "impersonate-user")),
        (
            "transfer-encoding over HTTP/2",
            ("transfer-encoding", "chunked"),
        ),
        ("upgrade over HTTP/2", ("upgrade", "SPDY/3.1")),
        ("te: gzip over HTTP/2", ("te", "gzip")),
        ("a name in capitals over HTTP/2", ("Impersonate-User", EVIL)),
        (
            "line ends in a value over HTTP/2",
            ("x-a", "b\r\nimpersonate-user: evil"),
        ),
        ("NUL in a value over HTTP/2", ("x-a", "b\0evil")),
        (
            "a colon in a name over HTTP/2",
            ("x-a: b\r\nimpersonate-user", EVIL),
        ),
    ]
    .into_iter()
    .map(|(name, header)| h2(name, "/small", &[header], REFUSED))
    .collect();
    let honest = || head("GET", "/small", &[]);
    let mut shuffled = honest();
    shuffled.swap(0, 4);
    let mut without_path = honest();
    without_path.retain(|(name, _)| name != ":path");
    let mut two_paths = honest();
    two_paths.insert(0, (":path".to_owned(), "/evil".to_owned()));
    let heads = [
        ("a pseudo-header after a header", shuffled),
        ("no path", without_path),
        ("two paths", two_paths),
        ("an empty path", head("GET", "", &[])),
        ("a path without a slash", head("GET", "small", &[])),
    ];
    cases.extend(
        heads.map(|(name, head)| case(name, "/small", Wire::H2(vec![H2::Headers(head)]), REFUSED)),
    );
    let short = H2::Headers(head("POST", "/status/200", &[("content-length", "2")]));
    let wire = Wire::H2(vec![short, H2::Data("abcdef")]);
    cases.push(case(
        "a length that is not the body's over HTTP/2",
        "/status/200",
        wire,
        HARMLESS,
    ));
    cases
}
