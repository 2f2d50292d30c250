//! Credit above the transport: what a stream may send, and what all may hold.

mod stalled;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::*;
use crate::config::net::Quic;
use crate::config::value::ByteSize;
use crate::protocol::code::Code;
use crate::transport::connection::{Connection, Transport};
use crate::transport::credit::Budget;
use crate::transport::stream::Error;
use pair::Pair;

over_both!(
    a_stalled_reader_takes_the_first_bytes_and_no_more,
    what_is_read_goes_on_whatever_the_budget,
    a_fast_reader_is_given_more_and_leaves_it_behind,
    an_idle_stream_gives_back_what_it_does_not_use,
    an_end_is_noticed_by_a_writer_that_waits_for_credit,
    a_peer_without_credit_is_sent_all_that_the_transport_takes,
    an_upload_that_is_not_wanted_is_no_stalled_one,
);

const FIRST: usize = 32 * 1024;
const PIECE: usize = 10_000;

fn settings(budget: ByteSize) -> Quic {
    Quic {
        connection_budget: budget,
        ..Quic::default()
    }
}

/// A pair whose ends agreed on credit, and tell each other of it.
struct Credited {
    pair: Pair,
    /// The server's, which reads here.
    budget: Arc<Budget>,
    _telling: JoinSet<()>,
}

impl Credited {
    async fn new(transport: Transport, quic: &Quic) -> Self {
        let pair = Pair::new(transport, quic).await;
        let budget = Budget::new(1 << 30);
        let first = Some(FIRST as u64);
        assert_eq!(pair.server.agree(quic, first, &budget), first);
        assert_eq!(pair.agent.agree(quic, first, &Budget::new(1 << 30)), first);
        let mut telling = JoinSet::new();
        telling.spawn(tell(pair.server.clone(), pair.agent.clone()));
        telling.spawn(tell(pair.agent.clone(), pair.server.clone()));
        Self {
            pair,
            budget,
            _telling: telling,
        }
    }

    /// A stream: the server's halves, then the agent's.
    async fn stream(&self) -> ((Sender, Receiver), (Sender, Receiver)) {
        let (mut up, down) = self.pair.server.open().await.unwrap();
        up.write("x".into()).await.unwrap();
        let (answer, mut question) = self.pair.agent.accept().await.unwrap();
        assert_eq!(question.raw().await.unwrap().unwrap(), "x");
        ((up, down), (answer, question))
    }

    /// Waits until what is held is as `wanted`.
    async fn held(&self, wanted: impl Fn(i64) -> bool) {
        let held = async {
            while !wanted(self.budget.held().get()) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, held).await.unwrap();
    }
}

async fn tell(from: Connection, to: Connection) {
    loop {
        to.hear_credit(&from.credit_news().await);
    }
}

/// Writes `count` pieces and ends.
async fn send(mut sender: Sender, count: usize) {
    for number in 0..count {
        let piece = vec![number as u8; PIECE];
        sender.write_data(piece.into()).await.unwrap();
    }
    sender.finish();
}

fn whole(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|number| std::iter::repeat_n(number as u8, PIECE))
        .collect()
}

/// Writes until nothing more is taken; how much was.
async fn fill(sender: &mut Sender) -> usize {
    let mut taken = 0;
    let piece = Bytes::from(vec![3; 1000]);
    while let Ok(written) = timeout(Duration::from_millis(300), sender.write(piece.clone())).await {
        written.unwrap();
        taken += piece.len();
    }
    taken
}

async fn a_stalled_reader_takes_the_first_bytes_and_no_more(transport: Transport) {
    let credited = Credited::new(transport, &settings(ByteSize::mib(64))).await;
    let ((mut up, _down), (mut answer, _question)) = credited.stream().await;
    for sender in [&mut answer, &mut up] {
        let taken = fill(sender).await;
        assert!(taken > FIRST - 2000 && taken <= FIRST, "{taken}");
    }
    assert_eq!(credited.budget.held().get(), 0);
}

async fn what_is_read_goes_on_whatever_the_budget(transport: Transport) {
    let credited = Credited::new(transport, &settings(ByteSize::bytes(0))).await;
    let mut streams = JoinSet::new();
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let ((up, mut down), (answer, mut question)) = credited.stream().await;
        streams.spawn(async move { send(answer, 50).await });
        streams.spawn(async move { send(up, 50).await });
        streams.spawn(async move { assert_eq!(body(&mut question).await.unwrap(), whole(50)) });
        stalled.push(async move { assert_eq!(body(&mut down).await.unwrap(), whole(50)) });
    }
    // All downloads stall until the uploads are done, and are whole all the same.
    let ended = async {
        for _ in 0..40 {
            streams.join_next().await.unwrap().unwrap();
        }
        for down in stalled {
            streams.spawn(down);
        }
        while let Some(ended) = streams.join_next().await {
            ended.unwrap();
        }
    };
    timeout(SOON, ended).await.unwrap();
    assert_eq!(credited.budget.held().get(), 0);
}

async fn a_fast_reader_is_given_more_and_leaves_it_behind(transport: Transport) {
    let credited = Credited::new(transport, &settings(ByteSize::mib(64))).await;
    let ((_up, mut down), (answer, _question)) = credited.stream().await;
    let sending = tokio::spawn(send(answer, 2000));
    let mut most = 0;
    let mut read = 0;
    while let Some(Piece::Data(data)) = down.body().await.unwrap() {
        read += data.len();
        most = most.max(credited.budget.held().get());
    }
    assert_eq!(read, 2000 * PIECE);
    assert!(most > 0 && most < 4 << 20, "{most}");
    sending.await.unwrap();
    drop(down);
    assert_eq!(credited.budget.held().get(), 0);
}

/// Reads in turns with a writer until the stream holds more than its first bytes.
async fn grow(credited: &Credited, answer: &mut Sender, down: &mut Receiver) {
    let writing = async {
        loop {
            answer.write(vec![1; PIECE].into()).await.unwrap();
        }
    };
    let reading = async {
        while credited.budget.held().get() == 0 {
            down.raw().await.unwrap();
        }
    };
    let grown = async {
        tokio::select! {
            () = reading => {}
            () = writing => {}
        }
    };
    timeout(SOON, grown).await.unwrap();
}

async fn an_idle_stream_gives_back_what_it_does_not_use(transport: Transport) {
    let credited = Credited::new(transport, &settings(ByteSize::mib(64))).await;
    let ((_up, mut down), (mut answer, _question)) = credited.stream().await;
    grow(&credited, &mut answer, &mut down).await;
    let reading = async { while down.raw().await.unwrap().is_some() {} };
    tokio::select! {
        () = credited.held(|held| held == 0) => {}
        () = reading => {}
    }
    assert!(
        credited
            .pair
            .server
            .credit()
            .unwrap()
            .stalled(Duration::ZERO)
            .is_empty()
    );
    // And goes on.
    let sending = tokio::spawn(async move {
        answer.write(vec![2; 1 << 20].into()).await.unwrap();
        answer.finish();
    });
    while down.raw().await.unwrap().is_some() {}
    sending.await.unwrap();
}

async fn an_end_is_noticed_by_a_writer_that_waits_for_credit(transport: Transport) {
    let credited = Credited::new(transport, &settings(ByteSize::mib(64))).await;
    let ((up, down), (mut answer, _question)) = credited.stream().await;
    fill(&mut answer).await;
    let writing = tokio::spawn(async move { answer.write(vec![1; PIECE].into()).await });
    drop((up, down));
    let written = timeout(SOON, writing).await.unwrap().unwrap();
    assert!(matches!(written, Err(Error::Stopped(_))), "{written:?}");

    let (_halves, (mut answer, _question)) = credited.stream().await;
    fill(&mut answer).await;
    let writing = tokio::spawn(async move { answer.write(vec![1; PIECE].into()).await });
    credited.pair.server.close(Code::Restarting, "the end");
    let written = timeout(SOON, writing).await.unwrap().unwrap();
    assert!(written.is_err());
}

async fn a_peer_without_credit_is_sent_all_that_the_transport_takes(transport: Transport) {
    let quic = settings(ByteSize::mib(64));
    let pair = Pair::new(transport, &quic).await;
    let budget = Budget::new(0);
    assert_eq!(pair.server.agree(&quic, None, &budget), None);
    assert_eq!(pair.agent.agree(&quic, Some(0), &budget), None);
    let (mut up, _down) = pair.server.open().await.unwrap();
    assert!(fill(&mut up).await > 8 * FIRST);
}

/// Over HTTP/2 the agent throws away what it does not want until its answer is out.
async fn an_upload_that_is_not_wanted_is_no_stalled_one(transport: Transport) {
    let credited = Credited::new(transport, &settings(ByteSize::bytes(0))).await;
    let ((mut up, mut down), (mut answer, question)) = credited.stream().await;
    drop(question);
    let upload = tokio::spawn(async move {
        for _ in 0..100 {
            up.write(vec![1; PIECE].into()).await?;
        }
        Ok::<_, Error>(up)
    });
    let uploaded = timeout(SOON, upload).await.unwrap().unwrap();
    match transport {
        Transport::Quic => assert!(matches!(uploaded, Err(Error::Stopped(_)))),
        Transport::Http2 => drop(uploaded.as_ref().unwrap()),
    }
    answer.write("enough".into()).await.unwrap();
    answer.finish();
    assert_eq!(down.raw().await.unwrap().unwrap(), "enough");
}
