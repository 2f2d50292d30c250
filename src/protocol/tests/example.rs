//! The worked example of `docs/protocol.md` is what the codec writes, byte for byte.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::protocol::control::{Hello, Message, Welcome};
use crate::protocol::frame::{self, Kind};
use crate::protocol::head::{self, RequestHead, RequestKind, ResponseHead};
use crate::protocol::identity::{Impersonation, KubernetesIdentity};

/// The bytes of the block behind `<!-- name -->`: on each line hexadecimal pairs, then words behind two spaces.
fn documented(name: &str) -> String {
    let text = include_str!("../../../docs/protocol.md");
    let (_, rest) = text.split_once(&format!("<!-- {name} -->\n```\n")).unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    let bytes = |line: &str| line.split("  ").next().unwrap_or_default().to_owned();
    let lines: Vec<_> = block.lines().map(bytes).collect();
    lines.join(" ")
}

fn hex(bytes: &BytesMut) -> String {
    let pairs: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(" ")
}

fn header(name: &'static str, value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(
        http::HeaderName::from_static(name),
        HeaderValue::from_static(value),
    )])
}

#[test]
fn the_hello_is_as_documented() {
    let mut out = BytesMut::new();
    Message::Hello(Hello {
        token: "citagent-x".to_owned(),
        instance: 0x0102_0304_0506_0708,
        version: "0.1.0".to_owned(),
        pod: Some("agent-0".to_owned()),
        kubernetes_version: None,
        probe: false,
        max_streams: Some(4096),
        first_credit: Some(32 * 1024),
    })
    .encode(&mut out);
    assert_eq!(hex(&out), documented("hello"));
}

#[test]
fn the_welcome_is_as_documented() {
    let mut out = BytesMut::new();
    Message::Welcome(Welcome {
        agent: 7,
        session: 1,
        version: "0.1.0".to_owned(),
        first_credit: Some(32 * 1024),
    })
    .encode(&mut out);
    assert_eq!(hex(&out), documented("welcome"));
}

#[test]
fn the_request_is_as_documented() {
    let request = RequestHead {
        agent: 7,
        request_id: "5eed".to_owned(),
        method: Method::GET,
        target: Bytes::from_static(b"/api/v1/pods?limit=1"),
        headers: header("accept", "application/json"),
        kind: RequestKind::Empty,
        identity: KubernetesIdentity::Impersonate(Arc::new(Impersonation {
            username: "gitlab:ci_job:42".to_owned(),
            uid: None,
            groups: vec!["gitlab:ci_job".to_owned()],
            extra: vec![("agent.gitlab.com/id".to_owned(), "7".to_owned())],
        })),
    };
    let mut out = BytesMut::new();
    request.encode(&mut out).unwrap();
    assert_eq!(hex(&out), documented("request"));
}

#[test]
fn the_response_is_as_documented() {
    let response = ResponseHead {
        status: StatusCode::OK,
        headers: header("content-type", "application/json"),
        upgrade: None,
    };
    let mut out = BytesMut::new();
    response.encode(&mut out).unwrap();
    frame::put_header(&mut out, Kind::Data, 2);
    out.extend_from_slice(b"{}");
    head::encode_trailers(&header("x-checksum", "ok"), &mut out).unwrap();
    assert_eq!(hex(&out), documented("response"));
}
