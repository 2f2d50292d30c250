//! Bulk downloads that run beside something else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};
use http::Method;
use http_body_util::BodyExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::client::{Http, Target};
use crate::payload::Payload;
use crate::plan::Times;

/// Downloads that have no end; dropping this breaks them off.
#[derive(Debug)]
pub struct Downloads {
    received: Arc<AtomicU64>,
    tasks: JoinSet<Result<()>>,
}

/// What was received until a moment.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    at: Instant,
    received: u64,
}

impl Downloads {
    /// Begins so many, each on a connection of its own; their answers have begun when it returns.
    pub async fn start(target: &Arc<Target>, count: usize) -> Result<Self> {
        let received = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        let ask = target.ask(Http::One, Method::GET, &format!("/bytes?n={ENDLESS}"))?;
        for _ in 0..count {
            let mut connection = target.connect(Http::One).await?;
            let response = connection.send(target, &ask, Payload::empty()).await?;
            let received = Arc::clone(&received);
            tasks.spawn(async move {
                let _connection = connection;
                let mut body = response.into_body();
                while let Some(frame) = body.frame().await {
                    let length = frame?.data_ref().map_or(0, bytes::Bytes::len);
                    received.fetch_add(length as u64, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        Ok(Self { received, tasks })
    }

    pub fn mark(&self) -> Mark {
        Mark {
            at: Instant::now(),
            received: self.received.load(Ordering::Relaxed),
        }
    }

    /// MB/s since then.
    ///
    /// # Errors
    /// One of the downloads has ended.
    pub fn speed_since(&mut self, mark: Mark) -> Result<f64> {
        if let Some(ended) = self.tasks.try_join_next() {
            ended??;
        }
        ensure!(!self.tasks.is_empty(), "a download has ended");
        let now = self.mark();
        let bytes = now.received - mark.received;
        Ok(bytes as f64 / 1e6 / (now.at - mark.at).as_secs_f64())
    }
}

/// The speed of so many downloads at a time, with nothing beside them, in MB/s.
pub async fn alone(target: &Arc<Target>, count: usize, times: Times) -> Result<f64> {
    let mut downloads = Downloads::start(target, count).await?;
    sleep(times.warm_up).await;
    let mark = downloads.mark();
    sleep(times.measure).await;
    downloads.speed_since(mark)
}

/// A tebibyte: more than any link carries meanwhile.
const ENDLESS: u64 = 1 << 40;
