//! Which heads are carried, and the headers made for them.

use std::sync::Arc;

use bytes::Bytes;
use ci_tunnel::protocol::identity::Impersonation;
use http::Method;

use super::*;

const AGENT: u64 = 7;

fn headers(head: RequestHead, agent: u64) -> Result<HeaderMap, Refusal> {
    super::headers(head, agent, &Recent::default())
}

fn head(headers: &[(&str, &str)], kind: RequestKind, identity: KubernetesIdentity) -> RequestHead {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    RequestHead {
        agent: AGENT,
        request_id: "r1".to_owned(),
        method: Method::GET,
        target: Bytes::from_static(b"/api"),
        headers: map,
        kind,
        identity,
    }
}

fn plain(sent: &[(&str, &str)]) -> Result<HeaderMap, Refusal> {
    headers(
        head(sent, RequestKind::Empty, KubernetesIdentity::Agent),
        AGENT,
    )
}

fn as_somebody(somebody: Impersonation) -> Result<HeaderMap, Refusal> {
    let identity = KubernetesIdentity::Impersonate(Arc::new(somebody));
    let upgrade = RequestKind::Upgrade(HeaderValue::from_static("SPDY/3.1"));
    let made = headers(head(&[], RequestKind::Empty, identity.clone()), AGENT);
    assert_eq!(
        made,
        headers(head(&[], upgrade, identity), AGENT),
        "an upgrade is no other way in"
    );
    made
}

fn somebody() -> Impersonation {
    Impersonation {
        username: "gitlab:ci_job:1".to_owned(),
        ..Impersonation::default()
    }
}

#[test]
fn the_agents_own_identity_adds_no_header() {
    let sent = [
        ("accept", "application/json"),
        ("x-stream-protocol-version", "v4"),
        ("x-stream-protocol-version", "v5"),
    ];
    let made = plain(&sent).unwrap();
    assert_eq!(made.len(), 3);
    assert_eq!(made.get_all("x-stream-protocol-version").iter().count(), 2);
}

#[test]
fn an_identity_becomes_headers() {
    let made = as_somebody(Impersonation {
        uid: Some("u-1".to_owned()),
        groups: vec!["gitlab:ci_job".to_owned(), "gitlab:group:2".to_owned()],
        extra: vec![
            ("agent.gitlab.com/id".to_owned(), "7".to_owned()),
            ("agent.gitlab.com/id".to_owned(), "8".to_owned()),
            ("50%-sure key".to_owned(), "x".to_owned()),
            ("ü".to_owned(), "Jürgen".to_owned()),
        ],
        ..somebody()
    })
    .unwrap();
    let all = |name: &str| {
        made.get_all(name)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect::<Vec<_>>()
    };
    assert_eq!(all("impersonate-user"), [b"gitlab:ci_job:1"]);
    assert_eq!(all("impersonate-uid"), [b"u-1"]);
    assert_eq!(
        all("impersonate-group"),
        [&b"gitlab:ci_job"[..], b"gitlab:group:2"]
    );
    assert_eq!(all("impersonate-extra-agent.gitlab.com%2Fid"), [b"7", b"8"]);
    assert_eq!(all("impersonate-extra-50%25-sure%20key"), [b"x"]);
    assert_eq!(all("impersonate-extra-%C3%BC"), ["Jürgen".as_bytes()]);
    assert_eq!(made.len(), 8);
}

#[test]
fn forged_heads_are_refused() {
    for name in [
        "impersonate-user",
        "Impersonate-Group",
        "impersonate_user",
        "impersonate-extra-scopes",
        "x-remote-user",
        "X_Remote_Group",
        "authorization",
        "cookie",
        "host",
        "connection",
        "upgrade",
        "transfer-encoding",
        "te",
        "keep-alive",
        "proxy-authorization",
        "x-forwarded-for",
        "forwarded",
    ] {
        let refusal = plain(&[("accept", "*/*"), (name, "x")]).unwrap_err();
        assert!(matches!(refusal, Refusal::Header(_)), "{name}: {refusal}");
    }
    let token = (
        "sec-websocket-protocol",
        "v4.channel.k8s.io, Base64url.bearer.authorization.k8s.io.dG9rZW4",
    );
    assert!(matches!(plain(&[token]).unwrap_err(), Refusal::Header(_)));
}

#[test]
fn a_head_for_another_agent_is_refused() {
    let forwarded = head(&[], RequestKind::Empty, KubernetesIdentity::Agent);
    assert_eq!(
        headers(forwarded, 8),
        Err(Refusal::OtherAgent { wanted: 7, own: 8 })
    );
}

#[test]
fn lengths_must_fit() {
    let with = |lengths: &[&str], kind: RequestKind| {
        let sent: Vec<_> = lengths
            .iter()
            .map(|length| ("content-length", *length))
            .collect();
        headers(head(&sent, kind, KubernetesIdentity::Agent), AGENT).map(|_| ())
    };
    assert_eq!(with(&["5"], RequestKind::Body), Ok(()));
    assert_eq!(with(&["0"], RequestKind::Empty), Ok(()));
    for (lengths, kind) in [
        (&["5"][..], RequestKind::Empty),
        (
            &["5"],
            RequestKind::Upgrade(HeaderValue::from_static("websocket")),
        ),
        (&["5", "5"], RequestKind::Body),
        (&["+5"], RequestKind::Body),
        (&["5, 5"], RequestKind::Body),
        (&[""], RequestKind::Body),
    ] {
        assert_eq!(
            with(lengths, kind),
            Err(Refusal::ContentLength),
            "{lengths:?}"
        );
    }
}

#[test]
fn an_identity_that_http_would_change_is_refused() {
    let named = |username: &str| Impersonation {
        username: username.to_owned(),
        ..Impersonation::default()
    };
    for (who, what) in [
        (named(" system:admin"), "username"),
        (named("admin\t"), "username"),
        (named(""), "username"),
        (named("a\r\nimpersonate-group: system:masters"), "username"),
        (
            Impersonation {
                groups: vec![String::new()],
                ..somebody()
            },
            "group",
        ),
        (
            Impersonation {
                uid: Some(" ".to_owned()),
                ..somebody()
            },
            "uid",
        ),
        (
            Impersonation {
                extra: vec![(String::new(), "x".to_owned())],
                ..somebody()
            },
            "extra key",
        ),
    ] {
        assert_eq!(
            as_somebody(who),
            Err(Refusal::Identity(NotAHeader { what }))
        );
    }
}

#[test]
fn a_target_that_leaves_the_api_servers_prefix_is_refused() {
    for target in ["/../other", "/api/%2e%2e/other", "//other"] {
        let mut sent = head(&[], RequestKind::Empty, KubernetesIdentity::Agent);
        sent.target = Bytes::from_static(target.as_bytes());
        let refusal = headers(sent, AGENT).unwrap_err();
        assert!(matches!(refusal, Refusal::Target(_)), "{target}: {refusal}");
    }
}

#[test]
fn a_switch_to_another_http_is_refused() {
    for protocol in ["h2c", "HTTP/2.0", "TLS/1.3"] {
        let upgrade = RequestKind::Upgrade(HeaderValue::from_static(protocol));
        let sent = head(&[], upgrade, KubernetesIdentity::Agent);
        assert_eq!(headers(sent, AGENT), Err(Refusal::Protocol), "{protocol}");
    }
}
