//! Bodies and trailers, while they flow.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use ci_tunnel_tests::client::{Http, empty, fed, full};
use ci_tunnel_tests::deadline::{within, within_time};
use http::header::{HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::rig::{BOTH, Rig};

const MIB: u64 = 1024 * 1024;
const LARGE: u64 = 100 * MIB;
/// For [`LARGE`] bytes through programs that are not optimized, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_hundred_megabytes_come_down_unchanged() -> Result<()> {
    let rig = Rig::start().await?;
    let wanted = hash(pattern(LARGE));
    for http in BOTH {
        let client = rig.client(http)?;
        let begin = Instant::now();
        let request = client.request(Method::GET, &format!("/bytes?n={LARGE}"));
        let mut response = client.send(request.body(empty())?).await?;
        let (mut hash, mut len) = (Sha256::new(), 0);
        while let Some(data) = within_time(PATIENCE, "more", data(&mut response)).await?? {
            hash.update(&data);
            len += data.len() as u64;
        }
        println!("100 MiB down over {http:?}: {:?}", begin.elapsed());
        assert_eq!(
            (len, hex(&hash.finalize())),
            (LARGE, wanted.clone()),
            "{http:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_hundred_megabytes_go_up_unchanged() -> Result<()> {
    let rig = Rig::start().await?;
    let wanted = hash(pattern(LARGE));
    for http in BOTH {
        let client = rig.client(http)?;
        let begin = Instant::now();
        let (feeder, body) = fed();
        let feed = async {
            for piece in pattern(LARGE) {
                feeder.data(piece).await?;
            }
            drop(feeder);
            Ok(())
        };
        let request = client.request(Method::POST, "/status/200").body(body)?;
        let mut connection = client.connect().await?;
        // The answer comes after the body, which may take longer than an answer should.
        let sent = within_time(PATIENCE, "the upload", async {
            tokio::try_join!(feed, connection.send_within(PATIENCE, request))
        });
        let ((), response) = sent.await??;
        assert_eq!(response.status(), StatusCode::OK);
        let seen = rig
            .api
            .recorder()
            .wait_for("all", |seen| {
                seen.target == "/status/200" && seen.body.sha256.is_some()
            })
            .await?;
        println!("100 MiB up over {http:?}: {:?}", begin.elapsed());
        assert_eq!(
            (seen.body.len, seen.body.sha256),
            (LARGE, Some(wanted.clone()))
        );
        rig.api.recorder().forget();
    }
    Ok(())
}

#[tokio::test]
async fn an_echo_comes_back_while_the_upload_goes_on() -> Result<()> {
    let rig = Rig::start().await?;
    for http in BOTH {
        let client = rig.client(http)?;
        let (feeder, body) = fed();
        let request = client.request(Method::POST, "/echo").body(body)?;
        let mut response = client.send(request).await?;
        let mut slowest = Duration::ZERO;
        for number in 0..20 {
            let piece = format!("piece {number}");
            let begin = Instant::now();
            feeder.data(piece.clone()).await?;
            let back = within("the echo", data(&mut response)).await??;
            assert_eq!(back.context("an echo")?, piece);
            slowest = slowest.max(begin.elapsed());
        }
        drop(feeder);
        assert!(within("the end", data(&mut response)).await??.is_none());
        println!("slowest echo over {http:?}: {slowest:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_may_come_and_end_before_the_upload_does() -> Result<()> {
    let rig = Rig::start().await?;
    for http in BOTH {
        let client = rig.client(http)?;
        let (feeder, body) = fed();
        feeder.data("the beginning").await?;
        let request = client.request(Method::POST, "/early").body(body)?;
        let response = client.send(request).await?;
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE, "{http:?}");
        let whole = within("the answer's end", response.into_body().collect()).await??;
        let text = String::from_utf8(whole.to_bytes().to_vec())?;
        assert!(text.contains("refused before the body"), "{text}");
        drop(feeder);
    }
    Ok(())
}

#[tokio::test]
async fn trailers_survive_both_ways() -> Result<()> {
    let rig = Rig::start().await?;
    for http in BOTH {
        let client = rig.client(http)?;
        let (feeder, body) = fed();
        let request = client
            .request(Method::POST, "/trailers")
            .header("trailer", "x-end, x-other")
            .header("te", "trailers");
        let mut trailers = HeaderMap::new();
        trailers.insert("x-end", HeaderValue::from_static("yes"));
        trailers.insert("x-other", HeaderValue::from_static("too"));
        let send = async {
            feeder.data("hello").await?;
            feeder.trailers(trailers).await
        };
        let ((), response) = tokio::try_join!(send, client.send(request.body(body)?))?;
        let whole = within("the answer", response.into_body().collect()).await??;
        let back = whole
            .trailers()
            .cloned()
            .with_context(|| format!("trailers over {http:?}"))?;
        assert_eq!(
            (&back["x-checksum"], &back["x-late"]),
            (
                &HeaderValue::from_static("5d41"),
                &HeaderValue::from_static("yes")
            )
        );
        assert_eq!(whole.to_bytes(), "hello");
        let arrived = |seen: &ci_tunnel_tests::apiserver::Received| !seen.trailers.is_empty();
        let seen = rig.api.recorder().wait_for("trailers", arrived).await?;
        let wanted = [("x-end", "yes"), ("x-other", "too")];
        let wanted = wanted.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        assert_eq!(seen.trailers, wanted);
        rig.api.recorder().forget();
    }
    Ok(())
}

#[tokio::test]
async fn a_watch_event_comes_at_once() -> Result<()> {
    let rig = Rig::start().await?;
    for http in BOTH {
        let client = rig.client(http)?;
        let request = client.request(Method::GET, "/watch").body(empty())?;
        let mut response = client.send(request).await?;
        rig.api.wait_for_watchers(1).await?;
        let mut times = Vec::new();
        for number in 0..50 {
            let event = json!({"type": "ADDED", "object": {"number": number}});
            let written = rig.api.push_event(&event).await?;
            let line = within("the event", data(&mut response))
                .await??
                .context("an event")?;
            assert_eq!(line, format!("{event}\n"));
            times.push(written.elapsed());
        }
        times.sort();
        println!(
            "event over {http:?}: median {:?}, slowest {:?}",
            times[25], times[49]
        );
        // Any buffer or timer on the way would show in all of them; the slowest one may be the machine's.
        ensure!(
            times[25] < Duration::from_millis(50),
            "an event takes {:?}",
            times[25]
        );
        drop(response);
        drop(client);
        rig.api.wait_for_watchers(0).await?;
    }
    Ok(())
}

#[tokio::test]
async fn bodies_of_every_small_size_pass() -> Result<()> {
    let rig = Rig::start().await?;
    let client = rig.client(Http::Two)?;
    // Around the sizes at which frames, packets and buffers end.
    let sizes = [
        0, 1, 63, 64, 65, 1199, 1200, 2047, 2048, 2049, 16_383, 16_384, 32_768, 32_769, 65_535,
        65_537,
    ];
    for size in sizes {
        let body: Bytes = pattern(size).next().unwrap_or_default();
        let response = client.post("/echo", full(body.clone())).await?;
        assert!(*response.body() == body, "{size} bytes");
    }
    Ok(())
}

/// The next bytes of a body.
async fn data(response: &mut Response<Incoming>) -> Result<Option<Bytes>> {
    while let Some(frame) = response.frame().await.transpose()? {
        // The end may come with a frame of nothing.
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// The first bytes of what the stand-in's `/bytes` gives, in pieces.
fn pattern(len: u64) -> impl Iterator<Item = Bytes> {
    let piece: Bytes = (0..251_u8).cycle().take(251 * 1024).collect();
    let mut rest = len;
    std::iter::from_fn(move || {
        let take = rest.min(piece.len() as u64);
        rest -= take;
        let take = usize::try_from(take).expect("at most a piece");
        (take > 0).then(|| piece.slice(..take))
    })
}

fn hash(pieces: impl Iterator<Item = Bytes>) -> String {
    let mut hash = Sha256::new();
    pieces.for_each(|piece| hash.update(&piece));
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
