//! The codec proven three ways: round trip, length, and arbitrary bytes that neither panic nor over-allocate.

mod example;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use proptest::collection::vec;
use proptest::prelude::*;

use super::code::Code;
use super::codec::{self, MAX_VARINT, Malformed};
use super::control::{Close, Configure, Credit, Health, Hello, Message, Refused, Welcome};
use super::frame::{self, Kind};
use super::head::{self, Cause, Failure, RequestHead, RequestKind, ResponseHead};
use super::identity::{Impersonation, KubernetesIdentity};
use super::{MAX_CONTROL_FRAME, MAX_HEAD_FRAME, MAX_HEADERS};

fn text() -> impl Strategy<Value = String> {
    "[ -~äöü€]{0,40}"
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    vec(("[a-z][a-z0-9-]{0,20}", vec(0x20u8..0x7f, 0..40)), 0..12).prop_map(|list| {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(
                HeaderName::try_from(name).unwrap(),
                HeaderValue::from_bytes(&value).unwrap(),
            );
        }
        headers
    })
}

fn identity() -> impl Strategy<Value = KubernetesIdentity> {
    let impersonation = (
        "[ -~]{1,40}",
        proptest::option::of(text()),
        vec(text(), 0..5),
        vec((text(), text()), 0..5),
    )
        .prop_map(|(username, uid, groups, extra)| Impersonation {
            username,
            uid,
            groups,
            extra,
        });
    prop_oneof![
        Just(KubernetesIdentity::Agent),
        impersonation.prop_map(|identity| KubernetesIdentity::Impersonate(Arc::new(identity)))
    ]
}

fn request() -> impl Strategy<Value = RequestHead> {
    let kind = prop_oneof![
        Just(RequestKind::Empty),
        Just(RequestKind::Body),
        Just(RequestKind::Upgrade(HeaderValue::from_static("SPDY/3.1"))),
    ];
    (
        1u64..1 << 40,
        "[a-z0-9]{1,32}",
        "[A-Z]{3,8}",
        "/[!-~]{0,80}",
        headers(),
        kind,
        identity(),
    )
        .prop_map(
            |(agent, request_id, method, target, headers, kind, identity)| RequestHead {
                agent,
                request_id,
                method: Method::from_bytes(method.as_bytes()).unwrap(),
                target: Bytes::from(target),
                headers,
                kind,
                identity,
            },
        )
}

fn response() -> impl Strategy<Value = ResponseHead> {
    (200u16..600, headers()).prop_map(|(status, headers)| ResponseHead {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        upgrade: None,
    })
}

fn credits() -> impl Strategy<Value = Vec<(u64, u64)>> {
    vec((0u64..MAX_VARINT, 0u64..MAX_VARINT), 0..20)
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        hello(),
        (
            0u64..MAX_VARINT,
            0u64..MAX_VARINT,
            text(),
            proptest::option::of(0u64..MAX_VARINT)
        )
            .prop_map(|(agent, session, version, first_credit)| {
                Message::Welcome(Welcome {
                    agent,
                    session,
                    version,
                    first_credit,
                })
            }),
        (credits(), credits(), credits()).prop_map(|(granted, returned, blocked)| {
            Message::Credit(Credit {
                granted,
                returned,
                blocked,
            })
        }),
        (0..Code::ALL.len(), text(), millis()).prop_map(|(code, message, retry_after)| {
            Message::Refused(Refused {
                code: Code::ALL[code],
                message,
                retry_after,
            })
        }),
        (0u64..MAX_VARINT).prop_map(Message::Ping),
        (0u64..MAX_VARINT).prop_map(Message::Pong),
        millis().prop_map(|grace| Message::Drain { grace }),
        (any::<bool>(), text())
            .prop_map(|(ready, message)| Message::Health(Health { ready, message })),
        configure(),
        (0..Code::ALL.len(), text()).prop_map(|(code, reason)| {
            Message::Close(Close {
                code: Code::ALL[code],
                reason,
            })
        }),
    ]
}

fn millis() -> impl Strategy<Value = Duration> {
    (0u64..1 << 40).prop_map(Duration::from_millis)
}

fn hello() -> impl Strategy<Value = Message> {
    (
        text(),
        any::<u64>(),
        text(),
        proptest::option::of(text()),
        proptest::option::of(text()),
        any::<bool>(),
        proptest::option::of(0u64..MAX_VARINT),
        proptest::option::of(0u64..MAX_VARINT),
    )
        .prop_map(
            |(
                token,
                instance,
                version,
                pod,
                kubernetes_version,
                probe,
                max_streams,
                first_credit,
            )| {
                Message::Hello(Hello {
                    token,
                    instance,
                    version,
                    pod,
                    kubernetes_version,
                    probe,
                    max_streams,
                    first_credit,
                })
            },
        )
}

fn configure() -> impl Strategy<Value = Message> {
    (
        proptest::option::of(text()),
        proptest::option::of(millis()),
        proptest::option::of(text()),
    )
        .prop_map(|(log_level, ping_every, set_aside)| {
            Message::Configure(Configure {
                log_level,
                ping_every,
                set_aside,
            })
        })
}

/// The payload of the one frame that `bytes` are, whose announced length must be the real one.
fn whole(mut bytes: BytesMut, limit: u64) -> (u64, Bytes) {
    let header = frame::peek(&bytes).unwrap();
    assert_eq!(
        header.size as u64 + header.length,
        bytes.len() as u64,
        "the announced length is the real one"
    );
    let frame = frame::decode(&mut bytes, limit).unwrap().unwrap();
    assert!(bytes.is_empty());
    frame
}

proptest! {
    #[test]
    fn varints_come_back(value in 0u64..=MAX_VARINT) {
        let mut out = BytesMut::new();
        codec::put_varint(&mut out, value);
        prop_assert_eq!(out.len(), codec::varint_len(value));
        prop_assert_eq!(codec::peek_varint(&out), Some((value, out.len())));
        for end in 0..out.len() {
            prop_assert_eq!(codec::peek_varint(&out[..end]), None);
        }
    }

    #[test]
    fn request_heads_come_back(head in request()) {
        let mut out = BytesMut::new();
        head.encode(&mut out).unwrap();
        let (kind, payload) = whole(out, MAX_HEAD_FRAME);
        prop_assert_eq!(kind, Kind::RequestHead as u64);
        prop_assert_eq!(RequestHead::decode(payload).unwrap(), head);
    }

    #[test]
    fn response_heads_come_back(head in response()) {
        let mut out = BytesMut::new();
        head.encode(&mut out).unwrap();
        let (kind, payload) = whole(out, MAX_HEAD_FRAME);
        prop_assert_eq!(kind, Kind::ResponseHead as u64);
        prop_assert_eq!(ResponseHead::decode(payload).unwrap(), head);
    }

    #[test]
    fn trailers_come_back(trailers in headers()) {
        let mut out = BytesMut::new();
        head::encode_trailers(&trailers, &mut out).unwrap();
        prop_assert_eq!(head::decode_trailers(whole(out, MAX_HEAD_FRAME).1).unwrap(), trailers);
    }

    #[test]
    fn control_messages_come_back(message in message()) {
        let mut out = BytesMut::new();
        message.encode(&mut out);
        let (kind, payload) = whole(out, MAX_CONTROL_FRAME);
        prop_assert_eq!(Message::decode(kind, payload).unwrap(), Some(message));
    }

    #[test]
    fn a_cut_frame_is_incomplete_and_never_malformed(head in request(), cut in any::<prop::sample::Index>()) {
        let mut out = BytesMut::new();
        head.encode(&mut out).unwrap();
        let mut cut = BytesMut::from(&out[..cut.index(out.len())]);
        prop_assert_eq!(frame::decode(&mut cut, MAX_HEAD_FRAME), Ok(None));
    }

    #[test]
    fn flipped_bytes_never_panic(head in request(), flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut out = BytesMut::new();
        head.encode(&mut out).unwrap();
        for (at, byte) in flips {
            let at = at.index(out.len());
            out[at] = byte;
        }
        decode_everything(&out);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        decode_everything(&bytes);
    }

    #[test]
    fn a_newer_peers_fields_are_skipped(head in request(), tag in 100u64..1 << 30, value in vec(any::<u8>(), 0..50)) {
        let mut out = BytesMut::new();
        head.encode(&mut out).unwrap();
        let (_, payload) = whole(out, MAX_HEAD_FRAME);
        let mut longer = BytesMut::from(&payload[..]);
        codec::Writer::new(&mut longer).bytes(tag, &value);
        prop_assert_eq!(RequestHead::decode(longer.freeze()).unwrap(), head);
    }
}

fn decode_everything(bytes: &[u8]) {
    let payload = Bytes::copy_from_slice(bytes);
    let _ = frame::decode(&mut BytesMut::from(bytes), MAX_HEAD_FRAME);
    let _ = RequestHead::decode(payload.clone());
    let _ = ResponseHead::decode(payload.clone());
    let _ = Failure::decode(payload.clone());
    let _ = head::decode_trailers(payload.clone());
    let _ = Impersonation::decode(payload.clone());
    for kind in 0..0x20 {
        let _ = Message::decode(kind, payload.clone());
    }
}

fn sample() -> RequestHead {
    RequestHead {
        agent: 7,
        request_id: "r".to_owned(),
        method: Method::GET,
        target: Bytes::from_static(b"/api"),
        headers: HeaderMap::new(),
        kind: RequestKind::Empty,
        identity: KubernetesIdentity::Agent,
    }
}

#[test]
fn a_frame_over_its_limit_is_refused_before_its_payload_is_waited_for() {
    let mut input = BytesMut::new();
    frame::put_header(&mut input, Kind::Hello, MAX_CONTROL_FRAME + 1);
    let refused = frame::decode(&mut input, MAX_CONTROL_FRAME);
    assert!(
        matches!(refused, Err(Malformed::TooLong { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_head_over_its_limits_is_not_encoded() {
    let mut head = sample();
    head.headers.insert(
        "x",
        HeaderValue::from_bytes(&vec![b'a'; MAX_HEAD_FRAME as usize]).unwrap(),
    );
    let mut out = BytesMut::new();
    assert!(matches!(
        head.encode(&mut out),
        Err(Malformed::TooLong { .. })
    ));
    assert!(out.is_empty(), "nothing of it is left behind");
    let mut head = sample();
    for _ in 0..=MAX_HEADERS {
        head.headers.append("x", HeaderValue::from_static("y"));
    }
    assert!(matches!(
        head.encode(&mut out),
        Err(Malformed::TooMany { .. })
    ));
}

#[test]
fn a_head_whose_identity_got_lost_is_refused() {
    let mut payload = BytesMut::new();
    let mut writer = codec::Writer::new(&mut payload);
    writer.number(1, 7);
    writer.bytes(2, b"r");
    writer.bytes(3, b"GET");
    writer.bytes(4, b"/api");
    writer.number(6, 0);
    assert_eq!(
        RequestHead::decode(payload.clone().freeze()),
        Err(Malformed::Missing("identity"))
    );
    codec::Writer::new(&mut payload).number(9, 1);
    assert_eq!(
        RequestHead::decode(payload.freeze()),
        Err(Malformed::Invalid("identity"))
    );
}

#[test]
fn a_target_can_name_no_other_host() {
    for target in [
        "http://elsewhere/",
        "elsewhere:443",
        "",
        "*",
        "/a b",
        "/a\r\nHost: x",
    ] {
        let mut head = sample();
        head.target = Bytes::copy_from_slice(target.as_bytes());
        let mut out = BytesMut::new();
        head.encode(&mut out).unwrap();
        let (_, payload) = whole(out, MAX_HEAD_FRAME);
        assert_eq!(
            RequestHead::decode(payload),
            Err(Malformed::Invalid("target")),
            "{target:?}"
        );
    }
}

#[test]
fn an_identity_with_control_characters_is_refused() {
    let identity = Impersonation {
        username: "a\nb".to_owned(),
        ..Impersonation::default()
    };
    let mut out = BytesMut::new();
    identity.encode(&mut out);
    assert_eq!(
        Impersonation::decode(out.freeze()),
        Err(Malformed::Invalid("username"))
    );
}

#[test]
fn every_code_comes_back_and_unknown_ones_are_internal() {
    for code in Code::ALL {
        assert_eq!(Code::from_number(u64::from(code as u32)), code);
    }
    assert_eq!(Code::from_number(0xffff), Code::Internal);
}

#[test]
fn a_failure_comes_back() {
    let failure = Failure {
        cause: Cause::Untrusted,
        message: "certificate expired".to_owned(),
    };
    let mut out = BytesMut::new();
    failure.encode(&mut out);
    assert_eq!(
        Failure::decode(whole(out, MAX_HEAD_FRAME).1).unwrap(),
        failure
    );
}

#[test]
fn a_token_does_not_print() {
    let hello = Hello {
        token: "citagent-secret".to_owned(),
        ..Hello::default()
    };
    assert!(!format!("{hello:?}").contains("citagent"));
}
