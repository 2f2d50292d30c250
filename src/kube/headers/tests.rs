use proptest::prelude::*;

use super::*;

fn map(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    headers
}

fn left(headers: &HeaderMap) -> Vec<(&str, &str)> {
    let mut left: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    left.sort_unstable();
    left
}

#[test]
fn identities_are_known_in_every_spelling() {
    for name in [
        "authorization",
        "cookie",
        "impersonate-user",
        "impersonate-group",
        "impersonate-uid",
        "impersonate-extra-scopes",
        "impersonate_user",
        "impersonate.extra-x",
        "x-remote-user",
        "x_remote-user",
        "x_remote_extra_a",
        "x-forwarded-for",
        "x-forwarded_host",
        "forwarded",
        "proxy-authorization",
        "proxy_anything",
    ] {
        assert!(is_identity(&HeaderName::from_static(name)), "{name}");
    }
    for name in [
        "accept",
        "user-agent",
        "impersonate",
        "x-remote",
        "content-type",
        "x-forward",
        "authorization-x",
    ] {
        assert!(!is_identity(&HeaderName::from_static(name)), "{name}");
    }
    assert!(is_impersonation(&HeaderName::from_static(
        "impersonate_uid"
    )));
    assert!(!is_impersonation(&HeaderName::from_static("x-remote-user")));
}

#[test]
fn requests_lose_identities_and_hop_by_hop_headers() {
    let mut headers = map(&[
        ("accept", "application/json"),
        ("content-length", "2"),
        ("authorization", "Bearer a"),
        ("authorization", "Bearer b"),
        ("Cookie", "a=b"),
        ("Impersonate-User", "root"),
        ("impersonate_group", "system:masters"),
        ("connection", "keep-alive, X-Secret"),
        ("Connection", "x-other,,"),
        ("x-secret", "1"),
        ("x-secret", "2"),
        ("X-Other", "3"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("trailer", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "SPDY/3.1"),
        ("http2-settings", "x"),
        ("proxy-connection", "close"),
        ("expect", "100-continue"),
        ("x-forwarded-for", "1.2.3.4"),
        ("warning", "kept"),
        ("warning", "twice"),
    ]);
    clean_request_headers(&mut headers);
    let expected = [
        ("accept", "application/json"),
        ("content-length", "2"),
        ("trailer", "x"),
        ("warning", "kept"),
        ("warning", "twice"),
    ];
    assert_eq!(left(&headers), expected);
}

#[test]
fn tokens_in_websocket_subprotocols_are_removed() {
    let mut headers = map(&[
        (
            "sec-websocket-protocol",
            "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0",
        ),
        (
            "sec-websocket-protocol",
            "BASE64URL.bearer.authorization.k8s.io.c2VjcmV0",
        ),
        ("sec-websocket-protocol", "v4.channel.k8s.io"),
    ]);
    clean_request_headers(&mut headers);
    let expected = [
        ("sec-websocket-protocol", "v4.channel.k8s.io"),
        ("sec-websocket-protocol", "v5.channel.k8s.io"),
    ];
    assert_eq!(left(&headers), expected);
}

#[test]
fn responses_lose_cors_and_hop_by_hop_headers() {
    let mut headers = map(&[
        ("content-type", "application/json"),
        ("audit-id", "1"),
        ("Access-Control-Allow-Origin", "*"),
        ("access-control-max-age", "1"),
        ("connection", "close, x-hop"),
        ("x-hop", "1"),
        ("transfer-encoding", "chunked"),
        ("proxy-authenticate", "Basic"),
        ("www-authenticate", "Bearer"),
        ("retry-after", "1"),
    ]);
    clean_response_headers(&mut headers);
    let expected = [
        ("audit-id", "1"),
        ("content-type", "application/json"),
        ("retry-after", "1"),
        ("www-authenticate", "Bearer"),
    ];
    assert_eq!(left(&headers), expected);
}

#[test]
fn what_needs_no_cleaning_is_left_alone() {
    let pairs = [
        ("accept", "*/*"),
        ("sec-websocket-protocol", "v5.channel.k8s.io"),
        ("user-agent", "kubectl"),
    ];
    let mut headers = map(&pairs);
    clean_request_headers(&mut headers);
    clean_response_headers(&mut headers);
    assert_eq!(left(&headers), pairs);
}

proptest! {
    #[test]
    fn nothing_unwanted_is_left(names in proptest::collection::vec("[a-z_-]{0,3}(impersonate|x.remote|cookie|te)?[._-]?[a-zA-Z]{0,6}", 0..12), connection in "[ -~]{0,40}") {
        let mut headers = HeaderMap::new();
        for name in &names {
            if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
                headers.append(name, HeaderValue::from_static("x"));
            }
        }
        headers.append(CONNECTION, HeaderValue::from_str(&connection).unwrap());
        let named: Vec<String> = connection_names(&headers).map(str::to_owned).collect();
        clean_request_headers(&mut headers);
        for name in headers.keys() {
            prop_assert!(!hop_by_hop(name) && !is_identity(name), "{name}");
            prop_assert!(!named.iter().any(|named| named.eq_ignore_ascii_case(name.as_str())), "{name}");
        }
    }
}

#[test]
fn only_streams_are_switched_to() {
    for (protocol, may) in [
        ("SPDY/3.1", true),
        ("spdy/3.1", true),
        ("websocket", true),
        ("WebSocket", true),
        ("h2c", false),
        ("HTTP/2.0", false),
        ("TLS/1.3", false),
        ("websocket, h2c", false),
        ("", false),
    ] {
        assert_eq!(
            may_switch_to(&HeaderValue::from_static(protocol)),
            may,
            "{protocol}"
        );
    }
}
