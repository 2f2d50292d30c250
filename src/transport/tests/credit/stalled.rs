//! Streams whose readers leave bytes lying.

use super::*;

over_both!(
    a_stalled_stream_that_holds_much_is_found,
    what_lies_is_brought_together_and_all_of_it_is_read,
);

async fn a_stalled_stream_that_holds_much_is_found(transport: Transport) {
    let credited = Credited::new(transport, &settings(ByteSize::mib(64))).await;
    let ((_up, mut down), (mut answer, _question)) = credited.stream().await;
    let ((_idle_up, mut idle), _idle_answer) = credited.stream().await;
    grow(&credited, &mut answer, &mut down).await;
    fill(&mut answer).await;
    let credit = credited.pair.server.credit().unwrap();
    let found = async {
        while credit.stalled(Duration::ZERO).is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let idle = async { drop(idle.raw().await) };
    let found = async {
        tokio::select! {
            () = found => {}
            () = idle => {}
        }
    };
    timeout(SOON, found).await.unwrap();
    assert_eq!(credit.stalled(Duration::ZERO), [answer.id()]);
    down.stop(Code::Stalled);
    assert_eq!(credited.budget.held().get(), 0);
    let written = async {
        loop {
            if let Err(error) = answer.write(vec![1; PIECE].into()).await {
                return error;
            }
        }
    };
    let error = timeout(SOON, written).await.unwrap();
    assert!(matches!(error, Error::Stopped(Code::Stalled)), "{error}");
}

async fn what_lies_is_brought_together_and_all_of_it_is_read(transport: Transport) {
    let credited = Credited::new(transport, &settings(ByteSize::mib(64))).await;
    let ((_up, mut down), (answer, _question)) = credited.stream().await;
    let id = answer.id();
    let sending = tokio::spawn(send(answer, 50));
    let mut read = Vec::new();
    while read.len() < FIRST {
        let Some(Piece::Data(data)) = down.body().await.unwrap() else {
            panic!("the body ended after {}", read.len());
        };
        read.extend_from_slice(&data);
    }
    let credit = credited.pair.server.credit().unwrap();
    let lies = async {
        loop {
            let lying = credit.newly_lying();
            if !lying.is_empty() {
                return lying;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert_eq!(timeout(SOON, lies).await.unwrap(), [id].into());
    assert!(credit.newly_lying().is_empty());
    let held = credited.budget.held().get();
    down.compact();
    down.compact();
    // What nobody reads is not credited.
    assert_eq!(credited.budget.held().get(), held);
    read.extend(timeout(SOON, body(&mut down)).await.unwrap().unwrap());
    assert_eq!(read, whole(50));
    sending.await.unwrap();
}
