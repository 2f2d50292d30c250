//! Jobs that ask all the time while something happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ci_tunnel_tests::client::{Http, full};
use tokio::task::JoinSet;

use crate::rig::Rig;

/// Clients that ask until told to stop. Each of their requests must be answered well.
#[derive(Debug)]
pub struct Asking {
    over: Arc<AtomicBool>,
    clients: JoinSet<Result<Asked>>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    pub requests: u32,
    pub longest: Duration,
}

impl Asking {
    /// Half of them over HTTP/1.1, the others over HTTP/2; every third request has a body.
    pub fn begin(rig: &Arc<Rig>, clients: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let mut asking = JoinSet::new();
        for number in 0..clients {
            let http = if number % 2 == 0 {
                Http::One
            } else {
                Http::Two
            };
            asking.spawn(ask(Arc::clone(rig), Arc::clone(&over), http));
        }
        Self {
            over,
            clients: asking,
        }
    }

    /// Stops them; an error when a request failed.
    pub async fn end(self) -> Result<Asked> {
        self.over.store(true, Ordering::Relaxed);
        let mut all = Asked::default();
        for asked in self.clients.join_all().await {
            let asked = asked?;
            ensure!(asked.requests > 0, "one of them never asked");
            all.requests += asked.requests;
            all.longest = all.longest.max(asked.longest);
        }
        Ok(all)
    }
}

async fn ask(rig: Arc<Rig>, over: Arc<AtomicBool>, http: Http) -> Result<Asked> {
    let client = rig.client(http)?;
    let mut asked = Asked::default();
    while !over.load(Ordering::Relaxed) {
        let begin = Instant::now();
        let answer = if asked.requests % 3 == 0 {
            client.post("/echo", full(vec![7; 20_000])).await?
        } else {
            client.get("/small").await?
        };
        asked.longest = asked.longest.max(begin.elapsed());
        asked.requests += 1;
        ensure!(
            answer.status() == 200,
            "{}: {:?}",
            answer.status(),
            answer.body()
        );
    }
    Ok(asked)
}
