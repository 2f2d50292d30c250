//! What HTTP/2 alone does.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::*;
use crate::config::value::ByteSize;
use crate::transport::connection::Transport;
use crate::transport::tests::pair::Pair;
use crate::transport::tests::{SOON, body};

#[test]
fn all_streams_together_never_use_up_the_connections_window() {
    for (max_streams, wanted) in [(4096, 1), (4096, 8), (8, 64), (30_000, 1)] {
        let quic = Quic {
            max_streams,
            stream_window: ByteSize::mib(wanted),
            ..Quic::default()
        };
        let window = u64::from(stream_window(&quic));
        assert!(window <= u64::from(wanted) << 20);
        assert!(window * u64::from(max_streams + OWN_STREAMS) <= u64::from(MAX_WINDOW));
    }
    assert_eq!(stream_window(&Quic::default()), 524_032);
}

#[tokio::test]
async fn what_was_sent_before_an_orderly_end_arrives() {
    let pair = Pair::new(Transport::Http2, &Quic::default()).await;
    let (mut up, mut down) = pair.server.open().await.unwrap();
    up.write("x".into()).await.unwrap();
    up.finish();
    let (mut answer, question) = pair.agent.accept().await.unwrap();
    let whole = Bytes::from(vec![5; 300 * 1024]);
    answer.write_data(whole.clone()).await.unwrap();
    answer.finish();
    drop((answer, question));
    pair.agent.close(Code::Done, "drained");
    assert_eq!(
        timeout(SOON, body(&mut down)).await.unwrap().unwrap(),
        whole
    );
    assert_eq!(pair.server.closed().await.code, Code::Done);
}

#[tokio::test]
async fn the_round_trip_is_measured() {
    let quic = Quic {
        keep_alive: Duration::from_millis(10),
        ..Quic::default()
    };
    let pair = Pair::new(Transport::Http2, &quic).await;
    let measured = async {
        while pair.agent.rtt().is_zero() || pair.server.rtt().is_zero() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, measured).await.unwrap();
    assert!(pair.agent.rtt() < SOON);
}

#[tokio::test]
async fn other_requests_are_refused() {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    let (quic, tasks) = (Quic::default(), TaskTracker::new());
    let agent = to_server(theirs, peer, &quic, &tasks);
    let (handshake, agent) = tokio::join!(h2::client::handshake(ours), agent);
    let (requests, connection) = handshake.unwrap();
    let _agent = agent.unwrap();
    let driver = tokio::spawn(connection);
    for path in [
        "https://agent/",
        "https://agent/streams",
        "https://agent/stream/x",
    ] {
        let request = Request::post(path).body(()).unwrap();
        let mut requests = requests.clone();
        let (response, _out) = requests.send_request(request, true).unwrap();
        let error = timeout(SOON, response).await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(h2::Reason::REFUSED_STREAM), "{path}");
    }
    driver.abort();
}

#[tokio::test]
async fn a_peer_that_vanishes_is_one_that_starts_anew() {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    let tasks = TaskTracker::new();
    let quic = Quic::default();
    let agent = to_server(theirs, peer, &quic, &tasks);
    let (handshake, agent) = tokio::join!(h2::client::handshake::<_>(ours), agent);
    drop::<(SendRequest<Bytes>, _)>(handshake.unwrap());
    let agent = agent.unwrap();
    let closed = timeout(SOON, agent.closed()).await.unwrap();
    assert_eq!(closed.code, Code::Restarting, "{closed}");
}
