//! How connections end, and how the other side learns of it.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::*;
use crate::config::net::Quic;
use crate::protocol::code::Code;
use crate::transport::connection::Transport;
use crate::transport::stream::Error;
use pair::Pair;

over_both!(
    either_side_closes_with_a_code_and_a_reason,
    a_silent_peer_is_dead_after_the_idle_timeout,
    the_last_handle_closes_the_connection,
);

async fn either_side_closes_with_a_code_and_a_reason(transport: Transport) {
    for by_agent in [true, false] {
        let pair = Pair::new(transport, &Quic::default()).await;
        let (mut up, mut down) = pair.server.open().await.unwrap();
        up.write("x".into()).await.unwrap();
        let (_answer, _question) = pair.agent.accept().await.unwrap();
        let (here, there) = if by_agent {
            (&pair.agent, &pair.server)
        } else {
            (&pair.server, &pair.agent)
        };
        here.close(Code::TokenRejected, "it was\nrevoked");
        let closed = timeout(SOON, there.closed()).await.unwrap();
        assert_eq!(closed.code, Code::TokenRejected);
        assert!(closed.reason.starts_with("it was"), "{}", closed.reason);
        assert_eq!(here.closed().await.code, Code::Done);
        assert!(here.open().await.is_err());
        assert!(there.accept().await.is_err());
        let error = timeout(SOON, down.raw()).await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Lost(_)), "{error}");
    }
}

async fn a_silent_peer_is_dead_after_the_idle_timeout(transport: Transport) {
    let quic = Quic {
        idle_timeout: Duration::from_secs(1),
        keep_alive: Duration::from_millis(200),
        ..Quic::default()
    };
    let pair = Pair::new(transport, &quic).await;
    // A connection on which nothing is said lives on.
    let quiet = timeout(Duration::from_secs(2), pair.server.closed()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let (mut up, mut down) = pair.server.open().await.unwrap();
    up.write("x".into()).await.unwrap();
    pair.agent
        .accept()
        .await
        .unwrap()
        .0
        .write("y".into())
        .await
        .unwrap();
    pair.relay.block();
    let begin = Instant::now();
    let (server, agent) = tokio::join!(pair.server.closed(), pair.agent.closed());
    assert_eq!((server.code, agent.code), (Code::Deadline, Code::Deadline));
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    let lost = loop {
        match timeout(SOON, down.raw()).await.unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&lost, Error::Lost(closed) if closed.code == Code::Deadline)
            || matches!(lost, Error::Reset(_)),
        "{lost}"
    );
}

async fn the_last_handle_closes_the_connection(transport: Transport) {
    let pair = Pair::new(transport, &Quic::default()).await;
    drop(pair.agent);
    let closed = timeout(SOON, pair.server.closed()).await.unwrap();
    assert_eq!(closed.code, Code::Done);
}
