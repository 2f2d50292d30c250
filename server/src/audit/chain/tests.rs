//! Lines of a chain, made and taken apart.

use super::*;

#[test]
fn a_sealed_line_can_be_taken_apart() {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef");
    let key = Mac::HmacSha256(Box::new(key));
    for mac in [Mac::Sha256, key] {
        let mut chain = Chain::new(mac.clone(), Head::NONE);
        let mut out = Vec::new();
        chain.seal(br#"{"a":1}"#, &mut out);
        chain.seal(br#"{"b":"x"}"#, &mut out);
        let lines: Vec<_> = out.split(|byte| *byte == b'\n').collect();
        let first = Sealed::parse(lines[0]).unwrap();
        assert_eq!((first.seq, first.prev), (1, Hash::NONE));
        assert_eq!(first.hash, mac.hash(first.body));
        let second = Sealed::parse(lines[1]).unwrap();
        assert_eq!((second.seq, second.prev), (2, first.hash));
        assert_eq!(chain.head(), second.head());
        assert!((out.len() as u64) < 16 + 2 * OVERHEAD);
    }
}

/// What `printf '%s' '{"seq":1,"prev":"000…","a":1' | sha256sum` prints.
#[test]
fn the_hash_is_what_everybody_can_compute() {
    let mut out = Vec::new();
    Chain::new(Mac::Sha256, Head::NONE).seal(br#"{"a":1}"#, &mut out);
    let zeros = "0".repeat(64);
    let hash = "79d849221fb23cd49e2bc95431e155e121723309f579af3db1cc2677c5ec6407";
    let line = format!("{{\"seq\":1,\"prev\":\"{zeros}\",\"a\":1,\"hash\":\"{hash}\"}}\n");
    assert_eq!(String::from_utf8(out).unwrap(), line);
}

#[test]
fn what_is_no_line_of_a_chain() {
    let mut out = Vec::new();
    Chain::new(Mac::Sha256, Head::NONE).seal(br#"{"a":1}"#, &mut out);
    let line = String::from_utf8(out).unwrap();
    let line = line.trim_end();
    for (from, to) in [
        ("{\"seq\":1", "{\"seq\":01"),
        ("{\"seq\":1", "{\"seq\":"),
        ("{\"seq\":1", " {\"seq\":1"),
        ("{\"seq\":1", "{\"seq\":99999999999999999999"),
        ("\"hash\":\"", "\"hash\":\"A"),
        ("\"}", "\"} "),
        ("\"prev\":\"0", "\"prev\":\"g"),
    ] {
        let wrong = line.replace(from, to);
        assert_ne!(wrong, line);
        assert_eq!(Sealed::parse(wrong.as_bytes()), None, "{wrong}");
    }
    for end in 0..line.len() {
        assert_eq!(Sealed::parse(&line.as_bytes()[..end]), None, "{end}");
    }
}

#[test]
fn a_key_must_be_long_enough() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "short\n").unwrap();
    let error = Mac::new(Some(file.path())).unwrap_err().to_string();
    assert!(error.contains("openssl rand"), "{error}");
    std::fs::write(file.path(), "0123456789abcdef0123\n").unwrap();
    assert_eq!(Mac::new(Some(file.path())).unwrap().name(), "hmac-sha256");
}
