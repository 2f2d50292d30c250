//! Bytes a second: kept on the whole, shared fairly, and in nobody's way.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::super::bucket::Bucket;
use super::super::pace::Paced;
use super::*;

const RATE: u64 = 1_000_000;
/// For what would take far longer if it went wrong.
const PATIENCE: Duration = Duration::from_secs(10);

fn bucket(rate: u64) -> Arc<Bucket> {
    Arc::new(Bucket::new(rate, Default::default()))
}

fn pace(bucket: &Arc<Bucket>) -> Pace {
    Pace::new(std::iter::once(Arc::clone(bucket))).unwrap()
}

/// Reads and pays as a download does, for ever; counts.
fn download(bucket: &Arc<Bucket>, chunk: usize) -> (Arc<AtomicU64>, tokio::task::JoinHandle<()>) {
    let count = Arc::new(AtomicU64::new(0));
    let (mut pace, counted) = (pace(bucket), Arc::clone(&count));
    let task = tokio::spawn(async move {
        loop {
            pace.pay(chunk).await;
            counted.fetch_add(chunk as u64, Ordering::Relaxed);
        }
    });
    (count, task)
}

#[tokio::test]
async fn the_rate_is_kept_and_a_second_of_it_saved() {
    let bucket = bucket(RATE);
    assert!(bucket.is_full());
    let mut pace = pace(&bucket);
    let begin = Instant::now();
    pace.pay(RATE as usize).await;
    assert!(!bucket.is_full());
    pace.pay(RATE as usize / 2).await;
    let took = begin.elapsed();
    // What is slower than it must be is the machine.
    assert!(took > Duration::from_millis(400), "{took:?}");
}

#[tokio::test]
async fn no_limit_is_no_pace() {
    let limits = limits(&config());
    let job = jobs(&[("acme/shop", "1")]).await;
    let slots = limits.admit(&job[0], Some(AgentId(1))).unwrap();
    assert!(slots.pace().is_none());
}

#[tokio::test]
async fn streams_share_evenly_whatever_the_size_of_their_pieces() {
    let bucket = bucket(4 * RATE);
    pace(&bucket).pay(4 * RATE as usize).await;
    let (large, _one) = download(&bucket, 200_000);
    let (small, _two) = download(&bucket, 3_000);
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mut until = pace(&bucket);
    while count(&large) < 1_000_000 {
        until.pay(1).await;
    }
    let (large, small) = (count(&large), count(&small));
    assert!(large.abs_diff(small) <= 300_000, "{large} and {small}");
}

/// Behind all of them it would wait for 13 s.
#[tokio::test]
async fn a_key_stroke_does_not_wait_behind_downloads() {
    let bucket = bucket(RATE);
    pace(&bucket).pay(RATE as usize).await;
    let _downloads: Vec<_> = (0..200).map(|_| download(&bucket, 64 * 1024)).collect();
    tokio::task::yield_now().await;
    let mut terminal = pace(&bucket);
    let begin = Instant::now();
    for _ in 0..5 {
        terminal.pay(10).await;
    }
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
}

/// A job that begins one request after the other does not starve what it began before.
#[tokio::test]
async fn a_download_goes_on_while_new_requests_come() {
    let bucket = bucket(4 * RATE);
    pace(&bucket).pay(4 * RATE as usize).await;
    let (count, _download) = download(&bucket, 64 * 1024);
    let (requests, _requests) = {
        let count = Arc::new(AtomicU64::new(0));
        let (bucket, counted) = (Arc::clone(&bucket), Arc::clone(&count));
        let task = tokio::spawn(async move {
            loop {
                let each = (0..10).map(|_| pace(&bucket));
                let each = each.map(|mut pace| tokio::spawn(async move { pace.pay(10_000).await }));
                for request in each.collect::<Vec<_>>() {
                    request.await.unwrap();
                    counted.fetch_add(10_000, Ordering::Relaxed);
                }
            }
        });
        (count, task)
    };
    let mut until = pace(&bucket);
    while requests.load(Ordering::Relaxed) < 1_500_000 {
        until.pay(1).await;
    }
    let went_on = count.load(Ordering::Relaxed);
    assert!(went_on > 60_000, "{went_on}");
}

/// Its client does not read, so it never comes back for the turn that it asked for.
#[tokio::test]
async fn whoever_does_not_come_for_its_turn_holds_nobody_up() {
    let bucket = bucket(10 * RATE);
    pace(&bucket).pay(10 * RATE as usize).await;
    let mut stalled = pace(&bucket);
    stalled.owe(1_000_000);
    poll_fn(|cx| {
        assert!(stalled.poll_paid(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    let mut other = pace(&bucket);
    let paid = timeout(PATIENCE, other.pay(1_000_000)).await;
    paid.expect("it waits for the one that does not come");
}

/// What they asked for would take 50 s.
#[tokio::test]
async fn whoever_gives_up_pays_nothing() {
    let bucket = bucket(RATE);
    pace(&bucket).pay(RATE as usize + 200_000).await;
    for _ in 0..1000 {
        let mut pace = pace(&bucket);
        pace.owe(50_000);
        let asked = poll_fn(|cx| Poll::Ready(pace.poll_paid(cx))).await;
        assert!(asked.is_pending());
    }
    let paid = timeout(PATIENCE, pace(&bucket).pay(50_000)).await;
    paid.expect("it waits for those that gave up");
}

#[tokio::test]
async fn a_limit_that_is_taken_away_frees_those_who_wait() {
    let limits = limits(&Config {
        job: Limit {
            bytes_per_second: ByteSize::kib(16),
            ..FREE
        },
        ..config()
    });
    let job = jobs(&[("acme/shop", "1")]).await;
    let slots = limits.admit(&job[0], None).unwrap();
    let mut pace = slots.pace().unwrap();
    let waiting = tokio::spawn(async move { pace.pay(1 << 30).await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    limits.change(&config());
    timeout(PATIENCE, waiting).await.unwrap().unwrap();
}

/// Short requests one after the other have one bucket, not each a full one.
#[tokio::test]
async fn a_bucket_outlives_its_requests_until_it_is_full() {
    let limits = limits(&Config {
        job: Limit {
            bytes_per_second: ByteSize::mib(1),
            ..FREE
        },
        ..config()
    });
    let job = jobs(&[("acme/shop", "1")]).await;
    let begin = Instant::now();
    for _ in 0..6 {
        let slots = limits.admit(&job[0], None).unwrap();
        slots.pace().unwrap().pay(1 << 18).await;
        limits.sweep();
    }
    assert_eq!(limits.job.remembered(), 1);
    assert!(begin.elapsed() > Duration::from_millis(400));
}

#[tokio::test]
async fn nothing_of_an_upgraded_connection_is_lost() {
    let bucket = bucket(2 * RATE);
    let (client, server) = tokio::io::duplex(8 * 1024);
    let paced = Paced::new(server, pace(&bucket), pace(&bucket));
    let (mut reader, mut writer) = tokio::io::split(paced);
    let echo = tokio::spawn(async move {
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let sent: Vec<u8> = (0..1_500_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let (mut from, mut to) = tokio::io::split(client);
    let begin = Instant::now();
    let mut back = Vec::new();
    let write = async {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let (_, read) = tokio::join!(write, from.read_to_end(&mut back));
    read.unwrap();
    assert!(back == sent);
    echo.await.unwrap();
    // 3 MB both ways together, 2 MB of it saved.
    let took = begin.elapsed();
    assert!(took > Duration::from_millis(400), "{took:?}");
}
