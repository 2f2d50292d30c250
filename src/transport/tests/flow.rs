//! Many streams at once: bounded memory, isolation, and the limit of streams.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::config::net::Quic;
use crate::config::value::ByteSize;
use crate::transport::connection::{Connection, Transport};
use crate::transport::params::announced_streams;
use pair::Pair;

over_both!(
    a_reader_that_stalls_holds_the_writer_back,
    all_but_one_stalled_and_that_one_works,
    many_streams_at_once,
    one_stream_too_many_waits_for_a_place,
);

const WINDOW: u32 = 64 * 1024;

fn narrow(max_streams: u32) -> Quic {
    Quic {
        max_streams,
        stream_window: ByteSize::kib(WINDOW / 1024),
        // Less than what all streams have: what is on its way to readers that stall must not use it up.
        send_window: ByteSize::kib(128),
        ..Quic::default()
    }
}

/// Writes until nothing more is taken; how much was.
async fn fill(sender: &mut Sender) -> u32 {
    let piece = Bytes::from(vec![3; 16 * 1024]);
    let mut taken = 0;
    while let Ok(written) = timeout(Duration::from_millis(300), sender.write(piece.clone())).await {
        written.unwrap();
        taken += 16 * 1024;
    }
    taken
}

async fn echoing(agent: Connection) {
    let mut tasks = JoinSet::new();
    while let Ok((sender, receiver)) = agent.accept().await {
        tasks.spawn(echo(sender, receiver));
    }
}

async fn a_reader_that_stalls_holds_the_writer_back(transport: Transport) {
    let pair = Pair::new(transport, &narrow(8)).await;
    let (mut up, _down) = pair.server.open().await.unwrap();
    up.write("begin".into()).await.unwrap();
    let (mut answer, mut question) = pair.agent.accept().await.unwrap();
    let taken = fill(&mut answer).await;
    assert!(taken >= WINDOW / 2, "{taken}");
    assert!(taken <= 4 * WINDOW, "{taken}");
    let taken = fill(&mut up).await;
    assert!(taken <= 4 * WINDOW, "{taken}");
    drop(up);
    let mut read = 0;
    while let Ok(Some(bytes)) = question.raw().await {
        read += u32::try_from(bytes.len()).unwrap();
    }
    // What was given up in the middle may have been sent in part.
    assert!(read <= taken + 2 * 16 * 1024, "{read}");
}

async fn all_but_one_stalled_and_that_one_works(transport: Transport) {
    const STREAMS: u32 = 64;
    let pair = Pair::new(transport, &narrow(STREAMS)).await;
    let mut stalled = Vec::new();
    for _ in 1..STREAMS {
        let (mut up, down) = pair.server.open().await.unwrap();
        up.write("x".into()).await.unwrap();
        stalled.push((up, down, pair.agent.accept().await.unwrap()));
    }
    // Both directions of all, full.
    let mut filling = JoinSet::new();
    let mut held = Vec::new();
    for (mut up, down, (mut answer, question)) in stalled {
        held.push((down, question));
        filling.spawn(async move { (fill(&mut answer).await, fill(&mut up).await, answer, up) });
    }
    let filled = timeout(SOON, filling.join_all()).await.unwrap();
    assert!(filled.iter().all(|(down, up, ..)| *down > 0 && *up > 0));
    let agent = pair.agent.clone();
    let echo = tokio::spawn(echoing(agent));
    for _ in 0..20 {
        let asked = async { ask(pair.server.open().await.unwrap(), "still here?").await };
        timeout(SOON, asked).await.unwrap();
    }
    echo.abort();
}

async fn many_streams_at_once(transport: Transport) {
    let pair = Pair::new(transport, &Quic::default()).await;
    let echo = tokio::spawn(echoing(pair.agent.clone()));
    let mut asking = JoinSet::new();
    for _ in 0..500 {
        let server = pair.server.clone();
        asking.spawn(async move { ask(server.open().await.unwrap(), "one of many").await });
    }
    timeout(SOON, asking.join_all()).await.unwrap();
    echo.abort();
}

async fn one_stream_too_many_waits_for_a_place(transport: Transport) {
    let pair = Pair::new(transport, &narrow(2)).await;
    let agent = async {
        let mut control = pair.agent.open().await.unwrap();
        control.0.write("hello".into()).await.unwrap();
        control
    };
    let _control = tokio::join!(agent, pair.server.accept());
    let places = match transport {
        Transport::Quic => announced_streams(2),
        Transport::Http2 => 2,
    };
    let mut open = Vec::new();
    for _ in 0..places {
        let (mut up, down) = pair.server.open().await.unwrap();
        up.write("x".into()).await.unwrap();
        open.push((up, down, pair.agent.accept().await.unwrap()));
    }
    let one_more = timeout(Duration::from_millis(300), pair.server.open()).await;
    assert!(one_more.is_err(), "there was no place");
    // quinn gives places back by the eighth.
    drop((open.pop(), open.pop()));
    let (mut up, _down) = timeout(SOON, pair.server.open()).await.unwrap().unwrap();
    up.write("one more".into()).await.unwrap();
    let (_answer, mut question) = timeout(SOON, pair.agent.accept()).await.unwrap().unwrap();
    assert_eq!(question.raw().await.unwrap().unwrap(), "one more");
}
