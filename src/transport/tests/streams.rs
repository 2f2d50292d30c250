//! What travels on streams, and how they end.

use http::{HeaderMap, HeaderValue};
use tokio::time::timeout;

use super::*;
use crate::config::net::Quic;
use crate::protocol::code::Code;
use crate::protocol::frame;
use crate::transport::connection::Transport;
use crate::transport::stream::Error;
use pair::Pair;

over_both!(
    the_agent_speaks_first_on_the_control_stream,
    bodies_and_trailers_travel_and_each_half_ends_alone,
    resets_carry_their_codes,
    a_reader_that_leaves_is_noticed,
    an_agent_that_reads_no_further_still_answers,
    dropped_halves_never_look_whole,
);

async fn the_agent_speaks_first_on_the_control_stream(transport: Transport) {
    let pair = Pair::new(transport, &Quic::default()).await;
    let agent = async {
        let (mut sender, mut receiver) = pair.agent.open().await.unwrap();
        sender.write("hello".into()).await.unwrap();
        assert_eq!(receiver.raw().await.unwrap().unwrap(), "welcome");
        (sender, receiver)
    };
    let server = async {
        let (mut sender, mut receiver) = pair.server.accept().await.unwrap();
        assert_eq!(receiver.raw().await.unwrap().unwrap(), "hello");
        sender.write("welcome".into()).await.unwrap();
        (sender, receiver)
    };
    timeout(SOON, async { tokio::join!(agent, server) })
        .await
        .unwrap();
    assert_eq!(pair.server.transport(), transport);
    assert_eq!(pair.agent.transport(), transport);
}

async fn bodies_and_trailers_travel_and_each_half_ends_alone(transport: Transport) {
    let pair = Pair::new(transport, &Quic::default()).await;
    let big = Bytes::from(vec![7; 3 << 20]);
    let (mut up, mut down) = pair.server.open().await.unwrap();
    let mut head = bytes::BytesMut::new();
    frame::put(&mut head, frame::Kind::RequestHead, |out| {
        out.extend_from_slice(b"head")
    });
    up.write(head.freeze()).await.unwrap();
    let (mut answer, mut question) = pair.agent.accept().await.unwrap();
    let read = question.frame(100).await.unwrap().unwrap();
    assert_eq!(
        read,
        (frame::Kind::RequestHead as u64, Bytes::from_static(b"head"))
    );

    // The answer ends first.
    answer.write_data("short".into()).await.unwrap();
    answer.finish();
    assert_eq!(body(&mut down).await.unwrap(), b"short");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", HeaderValue::from_static("ok"));
    let send = async {
        up.write_data(big.clone()).await.unwrap();
        up.write_trailers(&trailers).await.unwrap();
        up.finish();
    };
    let receive = async {
        let mut length = 0;
        loop {
            match question.body().await.unwrap().unwrap() {
                Piece::Data(data) => length += data.len(),
                Piece::Trailers(found) => {
                    assert_eq!(found, trailers);
                    assert!(question.body().await.unwrap().is_none());
                    return length;
                }
            }
        }
    };
    let (length, ()) = timeout(SOON, async { tokio::join!(receive, send) })
        .await
        .unwrap();
    assert_eq!(length, big.len());
    // Over QUIC it has been acknowledged, over HTTP/2 it is queued.
    assert_eq!(up.stopped().await, None);
}

async fn resets_carry_their_codes(transport: Transport) {
    let pair = Pair::new(transport, &Quic::default()).await;
    for code in Code::ALL {
        let (mut up, mut down) = pair.server.open().await.unwrap();
        up.write("x".into()).await.unwrap();
        let (mut answer, mut question) = pair.agent.accept().await.unwrap();
        assert_eq!(question.raw().await.unwrap().unwrap(), "x");
        if (code as u32).is_multiple_of(2) {
            up.reset(code);
            let error = timeout(SOON, question.raw()).await.unwrap().unwrap_err();
            assert!(
                matches!(error, Error::Reset(found) if found == code),
                "{code}: {error}"
            );
        } else {
            answer.reset(code);
            let error = timeout(SOON, down.raw()).await.unwrap().unwrap_err();
            assert!(
                matches!(error, Error::Reset(found) if found == code),
                "{code}: {error}"
            );
        }
    }
}

async fn a_reader_that_leaves_is_noticed(transport: Transport) {
    let pair = Pair::new(transport, &Quic::default()).await;
    let (mut up, mut down) = pair.server.open().await.unwrap();
    up.write("x".into()).await.unwrap();
    let (mut answer, mut question) = pair.agent.accept().await.unwrap();
    assert_eq!(question.raw().await.unwrap().unwrap(), "x");
    let stopped = answer.stopped();
    answer.write("begun".into()).await.unwrap();
    assert_eq!(down.raw().await.unwrap().unwrap(), "begun");
    down.stop(Code::PermitLost);
    assert_eq!(
        timeout(SOON, stopped).await.unwrap(),
        Some(Code::PermitLost)
    );
    let error = loop {
        match answer.write("more".into()).await {
            Ok(()) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Stopped(Code::PermitLost)), "{error}");
}

async fn an_agent_that_reads_no_further_still_answers(transport: Transport) {
    let quic = Quic {
        stream_window: crate::config::value::ByteSize::kib(64),
        ..Quic::default()
    };
    let pair = Pair::new(transport, &quic).await;
    let (mut up, mut down) = pair.server.open().await.unwrap();
    let upload = tokio::spawn(async move {
        // More than any window: without a reader it can not end by itself.
        up.write_data(vec![1; 4 << 20].into()).await.unwrap_err();
    });
    let (mut answer, mut question) = pair.agent.accept().await.unwrap();
    question.raw().await.unwrap().unwrap();
    question.stop(Code::Done);
    drop(question);
    let answering = async move {
        answer.write_data(vec![2; 1 << 20].into()).await.unwrap();
        answer.finish();
    };
    let both = async { tokio::join!(body(&mut down), answering) };
    let (whole, ()) = timeout(SOON, both).await.unwrap();
    assert_eq!(whole.unwrap().len(), 1 << 20);
    drop(down);
    timeout(SOON, upload).await.unwrap().unwrap();
}

async fn dropped_halves_never_look_whole(transport: Transport) {
    let pair = Pair::new(transport, &Quic::default()).await;
    let (mut up, mut down) = pair.server.open().await.unwrap();
    up.write_data("part".into()).await.unwrap();
    let (mut answer, mut question) = pair.agent.accept().await.unwrap();
    answer.write_data("part".into()).await.unwrap();
    assert!(down.body().await.unwrap().is_some());
    assert!(question.body().await.unwrap().is_some());
    drop(up);
    let error = timeout(SOON, question.body()).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Reset(Code::Cancelled)), "{error}");
    drop((answer, question));
    let error = timeout(SOON, down.body()).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Reset(Code::Cancelled)), "{error}");
}
