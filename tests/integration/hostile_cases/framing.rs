//! Where a message ends, told in two ways: request smuggling, and HTTP/2 heads that would change meaning in HTTP/1.1
//! (RUSTSEC-2021-0078, -0079, -0020; CVE-2026-58150).
//!
//! The tunnel never forwards a raw head, so reading such a message in one well-defined way is harmless too; the smuggled request
//! then is a request like any other, and has no credential.

use super::{AUTH, HOST, case, h2, head};
use crate::hostile::{Case, Expect, H2, Wire};

pub fn cases() -> Vec<Case> {
    [lengths(), chunks(), lines(), targets(), http2()].into_iter().flatten().collect()
}

fn post(name: &'static str, lines: &str, body: &str, expect: Expect) -> Case {
    case(name, "/status/200", Wire::H1Cut(format!("POST /status/200 HTTP/1.1\r\n{HOST}{AUTH}{lines}\r\n{body}")), expect)
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n";

fn lengths() -> Vec<Case> {
    vec![
        post("length and chunks", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", &format!("0\r\n\r\n{SMUGGLED}"), Expect::Harmless),
        post("chunks and length", "Transfer-Encoding: chunked\r\nContent-Length: 44\r\n", &format!("0\r\n\r\n{SMUGGLED}"), Expect::Harmless),
        post("two lengths", "Content-Length: 0\r\nContent-Length: 39\r\n", SMUGGLED, Expect::Refused(400)),
        post("two lengths in one value", "Content-Length: 0, 39\r\n", SMUGGLED, Expect::Refused(400)),
        post("the same length twice", "Content-Length: 0\r\nContent-Length: 0\r\n", SMUGGLED, Expect::Harmless),
        post("a length with a sign", "Content-Length: +0\r\n", SMUGGLED, Expect::Refused(400)),
        post("a negative length", "Content-Length: -1\r\n", SMUGGLED, Expect::Refused(400)),
        post("a length in hex", "Content-Length: 0x10\r\n", SMUGGLED, Expect::Refused(400)),
        post("a length beyond 64 bits", "Content-Length: 99999999999999999999999\r\n", SMUGGLED, Expect::Refused(400)),
    ]
}

fn chunks() -> Vec<Case> {
    let chunked = "Transfer-Encoding: chunked\r\n";
    let end = format!("0\r\n\r\n{SMUGGLED}");
    vec![
        post("chunked, x", "Transfer-Encoding: chunked, x\r\n", &end, Expect::Refused(400)),
        post("x, chunked", "Transfer-Encoding: x, chunked\r\n", &end, Expect::Harmless),
        post("an unknown coding", "Transfer-Encoding: x\r\n", &end, Expect::Refused(400)),
        post("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", &end, Expect::Harmless),
        post("chunked then identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", &end, Expect::Refused(400)),
        post("a space before the colon", "Transfer-Encoding : chunked\r\n", &end, Expect::Refused(400)),
        post("a tab before chunked", "Transfer-Encoding:\tchunked\r\n", &end, Expect::Harmless),
        post("a vertical tab before chunked", "Transfer-Encoding: \x0bchunked\r\n", &end, Expect::Refused(400)),
        post("a huge chunk", chunked, &format!("ffffffffffffffff\r\n{SMUGGLED}"), Expect::Harmless),
        post("a chunk beyond 64 bits", chunked, &format!("10000000000000000\r\n{SMUGGLED}"), Expect::Harmless),
        post("a chunk size with a sign", chunked, &format!("+0\r\n\r\n{SMUGGLED}"), Expect::Harmless),
        post("a chunk without its end", chunked, &format!("3\r\nabcd\r\n0\r\n\r\n{SMUGGLED}"), Expect::Harmless),
        post("a chunk extension with a bare LF", chunked, &format!("0;a=b\n\r\n{SMUGGLED}"), Expect::Harmless),
        post("a body cut off", "Content-Length: 100\r\n", "abc", Expect::Harmless),
    ]
}

fn lines() -> Vec<Case> {
    let get = |name, head: String, expect| case(name, "/small", Wire::H1Cut(head), expect);
    vec![
        get("a folded line", format!("GET /small HTTP/1.1\r\n{HOST}{AUTH}X-A: b\r\n Impersonate-User: evil\r\n\r\n"), Expect::Refused(400)),
        get("a folded first line", format!("GET /small HTTP/1.1\r\n Impersonate-User: evil\r\n{HOST}{AUTH}\r\n"), Expect::Refused(400)),
        get("an identity behind a bare LF", format!("GET /small HTTP/1.1\r\n{HOST}{AUTH}X-A: b\nImpersonate-User: evil\r\n\r\n"), Expect::Harmless),
        get("an identity behind a bare CR", format!("GET /small HTTP/1.1\r\n{HOST}{AUTH}X-A: b\rImpersonate-User: evil\r\n\r\n"), Expect::Refused(400)),
        get("bare LF everywhere", format!("GET /small HTTP/1.1\n{HOST}{AUTH}\nGET /smuggled HTTP/1.1\n\n"), Expect::Harmless),
        get("NUL in a value", format!("GET /small HTTP/1.1\r\n{HOST}{AUTH}X-A: b\0evil\r\n\r\n"), Expect::Refused(400)),
        get("NUL in a name", format!("GET /small HTTP/1.1\r\n{HOST}{AUTH}Impersonate-User\0: evil\r\n\r\n"), Expect::Refused(400)),
        get("a space in a name", format!("GET /small HTTP/1.1\r\n{HOST}{AUTH}Impersonate-User : evil\r\n\r\n"), Expect::Refused(400)),
        get("a line without a colon", format!("GET /small HTTP/1.1\r\n{HOST}{AUTH}evil\r\n\r\n"), Expect::Refused(400)),
        get("an unknown version", format!("GET /small HTTP/9.9\r\n{HOST}{AUTH}\r\n"), Expect::Refused(400)),
        get("HTTP/0.9", "GET /small\r\n\r\n".to_owned(), Expect::Refused(400)),
        get("HTTP/1.0 with chunks", format!("POST /small HTTP/1.0\r\n{HOST}{AUTH}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"), Expect::Harmless),
        get("not HTTP at all", "\x16\x03\x01\x02\0evil evil evil\r\n\r\n".to_owned(), Expect::Refused(400)),
    ]
}

fn targets() -> Vec<Case> {
    let get = |name, line: &str, hosts: &str, expect| {
        case(name, "/small", Wire::H1(format!("{line} HTTP/1.1\r\n{hosts}{AUTH}\r\n")), expect)
    };
    vec![
        get("an absolute target", "GET https://evil.example/small", HOST, Expect::Harmless),
        get("an absolute target with a user", "GET http://evil@127.0.0.1/small", HOST, Expect::Harmless),
        get("a target without a slash", "GET small", HOST, Expect::Refused(400)),
        get("an authority as the target", "GET evil.example:443", HOST, Expect::Refused(400)),
        get("CONNECT", "CONNECT evil.example:443", HOST, Expect::Harmless),
        get("OPTIONS *", "OPTIONS *", HOST, Expect::Harmless),
        get("a space in the target", "GET /small evil", HOST, Expect::Refused(400)),
        get("another host", "GET /small", "Host: evil.example\r\n", Expect::Harmless),
        get("two hosts", "GET /small", "Host: {host}\r\nHost: evil.example\r\n", Expect::Harmless),
        get("no host", "GET /small", "", Expect::Harmless),
        get("a host with a path", "GET /small", "Host: evil.example/../x\r\n", Expect::Harmless),
    ]
}

fn http2() -> Vec<Case> {
    let refused = |name, more: &[(&str, &str)]| h2(name, "/small", more, Expect::Refused(400));
    let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let shuffled = {
        let mut head = head("GET", "/small", &[]);
        head.swap(0, 4);
        head
    };
    let without_path: Vec<_> = head("GET", "/small", &[]).into_iter().filter(|(name, _)| name != ":path").collect();
    let two_paths: Vec<_> = [text(":path", "/evil")].into_iter().chain(head("GET", "/small", &[])).collect();
    let raw = |name, head| case(name, "/small", Wire::H2(vec![H2::Headers(head)]), Expect::Refused(400));
    vec![
        refused("connection over HTTP/2", &[("connection", "impersonate-user")]),
        refused("transfer-encoding over HTTP/2", &[("transfer-encoding", "chunked")]),
        refused("upgrade over HTTP/2", &[("upgrade", "SPDY/3.1")]),
        refused("te: gzip over HTTP/2", &[("te", "gzip")]),
        refused("a name in capitals over HTTP/2", &[("Impersonate-User", "evil")]),
        refused("line ends in a value over HTTP/2", &[("x-a", "b\r\nimpersonate-user: evil")]),
        refused("NUL in a value over HTTP/2", &[("x-a", "b\0evil")]),
        refused("a colon in a name over HTTP/2", &[("x-a: b\r\nimpersonate-user", "evil")]),
        raw("a pseudo-header after a header", shuffled),
        raw("no path", without_path),
        raw("two paths", two_paths),
        raw("an empty path", head("GET", "", &[])),
        raw("a path without a slash", head("GET", "small", &[])),
        h2("another host over HTTP/2", "/small", &[("host", "evil.example")], Expect::Harmless),
        case(
            "a length that is not the body's over HTTP/2",
            "/status/200",
            Wire::H2(vec![H2::Headers(head("POST", "/status/200", &[("content-length", "2")])), H2::Data("abcdef")]),
            Expect::Harmless,
        ),
    ]
}
