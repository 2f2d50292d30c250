//! Heads that are too large, and heads that never end.

use super::{AUTH, HOST, case, h1, h2};
use crate::hostile::{Case, Expect, Wire};

pub fn cases() -> Vec<Case> {
    let megabyte = "a".repeat(1024 * 1024);
    let many: String = (0..5_000)
        .map(|number| format!("X-{number}: b\r\n"))
        .collect();
    let many_h2: Vec<(String, String)> = (0..5_000)
        .map(|number| (format!("x-{number}"), "b".repeat(50)))
        .collect();
    let many_h2: Vec<(&str, &str)> = many_h2
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let target = format!("/small?{megabyte}");
    let silent =
        |name, head: String| case(name, "/small", Wire::H1Silence(head), Expect::Refused(408));
    vec![
        h1(
            "a value of a megabyte",
            "/small",
            &format!("X-A: {megabyte}\r\n"),
            Expect::Refused(431),
        ),
        h1("5,000 headers", "/small", &many, Expect::Refused(431)),
        h1("a target of a megabyte", &target, "", Expect::Harmless),
        h2(
            "a value of a megabyte over HTTP/2",
            "/small",
            &[("x-a", &megabyte)],
            Expect::Refused(431),
        ),
        h2(
            "5,000 headers over HTTP/2",
            "/small",
            &many_h2,
            Expect::Refused(431),
        ),
        silent(
            "a head that stops",
            format!("GET /small HTTP/1.1\r\n{HOST}{AUTH}X-A: "),
        ),
        silent(
            "a head without its last line",
            format!("GET /small HTTP/1.1\r\n{HOST}{AUTH}"),
        ),
        silent("a connection without a word", String::new()),
    ]
}
