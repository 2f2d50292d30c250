//! Running requests: judged again when rules, tokens or agents change; those that lost their permit are cut.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::access::Permit;
use crate::authn::Authenticated;
use crate::identity::Agent;
use crate::metrics::{Metrics, ReasonLabels};

/// The requests that run now. Clones share it.
#[derive(Debug, Clone)]
pub struct Live {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    running: Mutex<Running>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Running {
    next: u64,
    requests: HashMap<u64, Arc<Request>>,
}

/// What a running request stands on.
#[derive(Debug)]
pub struct Request {
    pub who: Arc<Authenticated>,
    pub agent: Arc<Agent>,
    pub permit: Permit,
    cut: CancellationToken,
    why: OnceLock<Why>,
}

/// Why a request was cut.
#[derive(Debug, Clone)]
pub struct Why {
    /// For metrics.
    pub label: &'static str,
    /// For people.
    pub message: String,
}

/// Keeps a request among the running ones until dropped.
#[derive(Debug)]
pub struct Guard {
    live: Live,
    number: u64,
    request: Arc<Request>,
}

/// The label of requests that are cut because this server ends.
pub const RESTARTING: &str = "restarting";

impl Live {
    pub fn new(metrics: Metrics) -> Self {
        Self {
            shared: Arc::new(Shared {
                running: Mutex::default(),
                metrics,
            }),
        }
    }

    /// Adds a request. Whoever adds one judges it again if something changed meanwhile, so that no change slips
    /// between its permit and this call.
    pub fn add(&self, who: Arc<Authenticated>, agent: Arc<Agent>, permit: Permit) -> Guard {
        let request = Arc::new(Request {
            who,
            agent,
            permit,
            cut: CancellationToken::new(),
            why: OnceLock::new(),
        });
        let mut running = self.running();
        let number = running.next;
        running.next += 1;
        running.requests.insert(number, Arc::clone(&request));
        drop(running);
        self.shared.metrics.requests_running.inc();
        Guard {
            live: self.clone(),
            number,
            request,
        }
    }

    /// Cuts every request that `judge` finds a reason for.
    pub fn judge(&self, judge: impl Fn(&Request) -> Option<Why>) {
        let requests: Vec<_> = self.running().requests.values().cloned().collect();
        for request in requests {
            if let Some(why) = judge(&request) {
                self.cut(&request, why);
            }
        }
    }

    /// Cuts every request, because this server ends.
    pub fn cut_all(&self) {
        let message = "this server is shutting down";
        self.judge(|_| {
            Some(Why {
                label: RESTARTING,
                message: message.to_owned(),
            })
        });
    }

    fn cut(&self, request: &Request, why: Why) {
        let label = why.label;
        if request.why.set(why).is_ok() {
            self.shared
                .metrics
                .cuts
                .get_or_create(&ReasonLabels { reason: label })
                .inc();
            request.cut.cancel();
        }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.shared
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guard {
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Completes when the request is cut.
    pub fn cut(&self) -> CancellationToken {
        self.request.cut.clone()
    }

    /// Why it was cut, once it was.
    pub fn why(&self) -> Option<Why> {
        self.request.why.get().cloned()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.live.running().requests.remove(&self.number);
        self.live.shared.metrics.requests_running.dec();
    }
}
