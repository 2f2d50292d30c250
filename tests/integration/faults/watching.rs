//! A watch that runs while something goes wrong.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use ci_tunnel_tests::client::{Client, Http, empty};
use ci_tunnel_tests::deadline::within_time;
use http::{Method, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::json;

use crate::rig::Rig;

/// The job's open watch.
#[derive(Debug)]
pub struct Watching {
    response: Response<Incoming>,
    count: u64,
    /// Its connection lives as long as the client does.
    _client: Client,
}

impl Watching {
    /// Begins, as the only one.
    pub async fn begin(rig: &Rig, job: &str) -> Result<Self> {
        let client = rig.client_as(Http::Two, &rig.bearer_of(job))?;
        let request = client.request(Method::GET, "/watch").body(empty())?;
        let response = client.send(request).await?;
        ensure!(response.status() == 200, "no watch: {}", response.status());
        rig.api.wait_for_watchers(1).await?;
        let mut watching = Self {
            response,
            count: 0,
            _client: client,
        };
        watching.gets_an_event(rig).await?;
        Ok(watching)
    }

    /// An event reaches it.
    pub async fn gets_an_event(&mut self, rig: &Rig) -> Result<()> {
        self.count += 1;
        let event = json!({"number": self.count});
        rig.api.push_event(&event).await?;
        let next = within_time(LIMIT, "an event", self.response.frame()).await?;
        let data = next
            .context("the watch ended")??
            .into_data()
            .ok()
            .context("no trailers")?;
        ensure!(data == format!("{event}\n"), "{data:?} instead of {event}");
        Ok(())
    }

    /// It breaks off, and does not just end; how long after `since`.
    pub async fn until_cut(mut self, since: Instant) -> Result<Duration> {
        loop {
            match within_time(LIMIT, "the watch to be cut", self.response.frame()).await? {
                None => bail!("the watch ended as if it were whole"),
                Some(Err(_)) => return Ok(since.elapsed()),
                Some(Ok(_)) => {}
            }
        }
    }
}

const LIMIT: Duration = Duration::from_secs(25);
