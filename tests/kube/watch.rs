//! A watch: how soon an event is at the client.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use ci_tunnel_tests::client::{Client, Http, empty, full};
use ci_tunnel_tests::deadline::within;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::ring::Ring;

const EVENTS: usize = 25;

#[tokio::test]
async fn an_event_is_at_the_client_at_once() -> Result<()> {
    let Some(ring) = Ring::get("the latency of a watch").await else {
        return Ok(());
    };
    let namespace = ring.cluster.namespace("watch").await?;
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    for http in [Http::One, Http::Two] {
        let direct = median(&ring.direct(http)?, &ring.direct(http)?, &path).await?;
        let tunnel = median(&ring.client(http)?, &ring.direct(http)?, &path).await?;
        println!(
            "watch over {http:?}: {tunnel:?} from write to event, {direct:?} without the tunnel"
        );
        // Generous: other tests load the machine.
        assert!(tunnel < Duration::from_secs(1), "{tunnel:?}");
    }
    Ok(())
}

/// A hundred streams is a ceiling that many tunnels have and do not tell of.
#[tokio::test]
async fn hundreds_of_watches_all_hear_of_a_change() -> Result<()> {
    let Some(ring) = Ring::get("hundreds of watches").await else {
        return Ok(());
    };
    let namespace = ring.cluster.namespace("watches").await?;
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    let writer = ring.direct(Http::Two)?;
    // One connection each.
    let clients = [(); 3].map(|()| ring.client(Http::Two));
    let mut watches = Vec::new();
    for client in &clients {
        let client = client.as_ref().unwrap();
        for _ in 0..100 {
            watches.push(Events::of(client, &writer, &path).await?);
        }
    }
    for round in 0..2 {
        let name = create(&writer, &path).await?;
        for events in &mut watches {
            let event = events.next().await?;
            assert_eq!(event["object"]["metadata"]["name"], name, "round {round}");
        }
    }
    Ok(())
}

/// How long after a write was sent its event is there, in the middle of several.
async fn median(watcher: &Client, writer: &Client, path: &str) -> Result<Duration> {
    let mut events = Events::of(watcher, writer, path).await?;
    let mut took = Vec::new();
    for _ in 0..EVENTS {
        let sent = Instant::now();
        let (created, event) = tokio::join!(create(writer, path), async {
            events.next().await.map(|event| (event, sent.elapsed()))
        });
        let created = created?;
        let (event, elapsed) = event?;
        assert_eq!(event["type"], "ADDED");
        assert_eq!(event["object"]["metadata"]["name"], created);
        took.push(elapsed);
    }
    took.sort();
    Ok(took[EVENTS / 2])
}

/// Makes an object, and returns its name.
async fn create(writer: &Client, path: &str) -> Result<Value> {
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "event-"}});
    let request = writer
        .request(Method::POST, path)
        .header("content-type", "application/json");
    let response = writer.send(request.body(full(object.to_string()))?).await?;
    assert_eq!(response.status(), StatusCode::CREATED);
    let created = response.into_body().collect().await?.to_bytes();
    let created: Value = serde_json::from_slice(&created)?;
    Ok(created["metadata"]["name"].clone())
}

/// The lines of a watch.
struct Events {
    body: Incoming,
    rest: Vec<u8>,
}

impl Events {
    /// A watch of `path` from now on.
    async fn of(watcher: &Client, reader: &Client, path: &str) -> Result<Self> {
        let list = reader.get(&format!("{path}?limit=1")).await?;
        let list: Value = serde_json::from_slice(list.body())?;
        let version = list["metadata"]["resourceVersion"].as_str();
        let version = version.context("a version")?;
        let watch = format!("{path}?watch=true&resourceVersion={version}");
        let request = watcher.request(Method::GET, &watch).body(empty())?;
        let response = watcher.send(request).await?;
        assert_eq!(response.status(), StatusCode::OK);
        Ok(Self {
            body: response.into_body(),
            rest: Vec::new(),
        })
    }

    async fn next(&mut self) -> Result<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Ok(serde_json::from_slice(&line)?);
            }
            let frame = within("an event", self.body.frame()).await?;
            let frame = frame.context("the watch ended")??;
            self.rest
                .extend_from_slice(&frame.into_data().unwrap_or_default());
        }
    }
}
