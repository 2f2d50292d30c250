//! Readers and API servers that stall: nobody else notices, what they hold is bounded, and what goes on is whole.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use ci_tunnel_tests::client::{Client, Connection, Http, empty, full};
use ci_tunnel_tests::deadline::within;
use http::{Method, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::rig::Rig;

const WAYS: [&str; 2] = ["transport: quic", "transport: http2"];
/// More than all buffers on the way together hold.
const LARGE: &str = "/bytes?n=8000000";
const POLL: Duration = Duration::from_millis(10);

/// A client that has read the head of its answer, and nothing since.
struct Stalled {
    response: Response<Incoming>,
    _connection: Connection,
}

impl Stalled {
    async fn begin(client: &Client, target: &str) -> Result<Self> {
        let mut connection = client.connect().await?;
        let request = connection.request(Method::GET, target).body(empty())?;
        let response = connection.send(request).await?;
        ensure!(response.status() == 200, "{}", response.status());
        Ok(Self {
            response,
            _connection: connection,
        })
    }

    /// Reads at least `bytes`.
    async fn read(&mut self, bytes: usize) -> Result<()> {
        let mut read = 0;
        while read < bytes {
            let frame = within("a piece", self.response.body_mut().frame()).await?;
            let frame = frame.context("the answer has ended")??;
            read += frame.data_ref().map_or(0, Bytes::len);
        }
        Ok(())
    }

    async fn rest(self) -> Result<Bytes> {
        let body = within("the rest", self.response.into_body().collect()).await?;
        Ok(body?.to_bytes())
    }
}

#[tokio::test]
async fn all_places_but_one_are_stalled_and_the_last_works() -> Result<()> {
    const PLACES: usize = 64;
    for way in WAYS {
        let agent = format!("{{ {way}, quic: {{ max_streams: {PLACES} }} }}");
        let rig = Rig::with("timeouts: { open_stream: 1s }", &agent).await?;
        let client = rig.client(Http::One)?;
        let mut stalled = Vec::new();
        for _ in 1..PLACES {
            stalled.push(Stalled::begin(&client, LARGE).await?);
        }
        for number in 0..3 * PLACES {
            let answer = client.get("/small").await?;
            ensure!(answer.status() == 200, "{way}, {number}: {answer:?}");
        }
        let last = Stalled::begin(&client, LARGE).await?;
        let refused = client.get("/small").await?;
        ensure!(refused.status() == 503, "{way}: {refused:?}");
        let line = rig
            .tunnel
            .audited(|line| line["end"]["refused"] == "no_stream");
        line.await?;
        let whole = last.rest().await?;
        for stalled in stalled.drain(..3) {
            ensure!(stalled.rest().await? == whole, "{way}: another answer");
        }
        ensure!(whole.len() == 8_000_000);
        assert_eq!(client.get("/small").await?.status(), 200);
        ensure!(rig.tunnel.metric("ci_tunnel_server_cuts_total").await? == 0.0);
    }
    Ok(())
}

#[tokio::test]
async fn who_reads_nothing_gives_way_to_those_who_want_what_it_holds() -> Result<()> {
    for way in WAYS {
        // Room for one stream to double its window, once.
        let server = "{ quic: { connection_budget: 32KiB }, timeouts: { stalled_download: 1s } }";
        let rig = Rig::with(server, way).await?;
        let client = rig.client(Http::One)?;
        let mut watch = Stalled::begin(&client, "/watch").await?;
        rig.api.wait_for_watchers(1).await?;
        // Reads until it was given more than the others, then stops.
        let mut greedy = Stalled::begin(&client, "/bytes?n=100000000000").await?;
        while rig.tunnel.metric("ci_tunnel_server_held_bytes").await? == 0.0 {
            greedy.read(1_000_000).await?;
        }
        let patient = Stalled::begin(&client, LARGE).await?;
        let cut = "ci_tunnel_server_cuts_total{reason=\"stalled\"}";
        let wanting = async {
            while rig.tunnel.metric(cut).await? == 0.0 {
                let answer = client.get("/bytes?n=20000000").await?;
                ensure!(answer.body().len() == 20_000_000);
            }
            Ok(())
        };
        within("the cut", wanting).await??;
        let line = rig.tunnel.audited(|line| line["end"]["cut"] == "stalled");
        let line = line.await?;
        let message = line["message"].as_str().unwrap_or_default();
        ensure!(message.contains("timeouts.stalled_download"), "{line}");
        ensure!(greedy.rest().await.is_err(), "{way}: it looks whole");
        // Neither who waits for events nor who holds as little as everybody may was touched.
        rig.api.push_event(&json!({"still": "there"})).await?;
        watch.read(1).await?;
        assert_eq!(patient.rest().await?.len(), 8_000_000);
        ensure!(rig.tunnel.metric(cut).await? == 1.0);
    }
    Ok(())
}

#[tokio::test]
async fn an_api_server_that_takes_no_uploads_holds_up_nobody_else() -> Result<()> {
    const UPLOADS: usize = 20;
    for way in WAYS {
        let rig = Rig::with("", &format!("{{ {way}, quic: {{ budget: 1MiB }} }}")).await?;
        let client = rig.client(Http::One)?;
        let mut uploads = JoinSet::new();
        for _ in 0..UPLOADS {
            let client = client.clone();
            uploads.spawn(async move {
                let mut connection = client.connect().await?;
                let request = connection
                    .request(Method::POST, "/slow")
                    .body(full(vec![7; 5_000_000]))?;
                let answer = connection.send(request).await?;
                Ok::<_, anyhow::Error>(answer.status())
            });
        }
        let arrived = async {
            let slow = || {
                let received = rig.api.recorder().received();
                received.iter().filter(|one| one.target == "/slow").count()
            };
            while slow() < UPLOADS {
                tokio::time::sleep(POLL).await;
            }
        };
        within("the uploads", arrived).await?;
        for _ in 0..20 {
            assert_eq!(client.get("/small").await?.status(), 200);
        }
        let echo = client.post("/echo", full(vec![1; 2_000_000])).await?;
        assert_eq!(echo.body().len(), 2_000_000);
        for _ in 0..UPLOADS {
            rig.api.release_slow();
        }
        while let Some(status) = within("an upload", uploads.join_next()).await? {
            assert_eq!(status??, 200, "{way}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn status_says_what_a_session_holds() -> Result<()> {
    let rig = Rig::start().await?;
    let status: Value = rig.tunnel.status().await?;
    let session = &status["agents"][0]["sessions"][0];
    assert_eq!(session["held_bytes"], 0);
    Ok(())
}
