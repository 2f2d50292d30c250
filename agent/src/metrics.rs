//! What the agent counts and measures.

mod ways;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ci_tunnel::protocol::head::Cause;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::upstream;
use ways::Ways;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The API server's connection broke in the middle of the response.
    Broken,
    /// The server gave up on it: its client is gone, or the job lost its permit.
    Cancelled,
    /// The response reached its end.
    Done,
    /// There was no response head.
    Failed(Cause),
    /// The server sent what is no request.
    Protocol,
}

impl Outcome {
    /// Its name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Cancelled => "cancelled",
            Self::Done => "done",
            Self::Failed(Cause::Unreachable) => "unreachable",
            Self::Failed(Cause::Untrusted) => "untrusted",
            Self::Failed(Cause::Timeout) => "timeout",
            Self::Failed(Cause::Refused) => "refused",
            Self::Failed(Cause::BadUpgrade) => "bad_upgrade",
            Self::Failed(Cause::Credentials) => "credentials",
            Self::Failed(Cause::Busy) => "busy",
            Self::Failed(Cause::Internal) => "internal",
            Self::Protocol => "protocol",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    outcome: &'static str,
}

/// `up`: towards the API server; `down`: back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Moved {
    direction: &'static str,
}

/// The agent's metrics. Handles that every request needs are looked up once.
#[derive(Debug)]
pub struct Metrics {
    requests: Family<Ended, Counter>,
    running: Gauge,
    upgraded: Gauge,
    response_head: Histogram,
    bytes_up: Counter,
    bytes_down: Counter,
    done: Counter,
    connects: Family<Ended, Counter>,
    pub ways: Ways,
    upstream_ready: Gauge,
    rtt: Gauge<f64, AtomicU64>,
}

impl Metrics {
    /// Registers everything under `ci_tunnel_agent_`.
    pub fn new(registry: &mut Registry) -> Arc<Self> {
        let requests = Family::<Ended, Counter>::default();
        let bytes = Family::<Moved, Counter>::default();
        let metrics = Self {
            done: requests.get_or_create_owned(&Ended {
                outcome: Outcome::Done.name(),
            }),
            bytes_up: bytes.get_or_create_owned(&Moved { direction: "up" }),
            bytes_down: bytes.get_or_create_owned(&Moved { direction: "down" }),
            response_head: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            requests,
            running: Gauge::default(),
            upgraded: Gauge::default(),
            connects: Family::default(),
            ways: Ways::default(),
            upstream_ready: Gauge::default(),
            rtt: Gauge::default(),
        };
        metrics.register(registry.sub_registry_with_prefix("ci_tunnel_agent"), bytes);
        Arc::new(metrics)
    }

    fn register(&self, registry: &mut Registry, bytes: Family<Moved, Counter>) {
        registry.register("requests", "Requests ended, by how", self.requests.clone());
        registry.register(
            "requests_running",
            "Requests under way",
            self.running.clone(),
        );
        registry.register(
            "upgrades_running",
            "Upgraded connections open",
            self.upgraded.clone(),
        );
        registry.register("bytes", "Bytes of bodies and upgraded connections", bytes);
        let head = self.response_head.clone();
        registry.register(
            "response_head_seconds",
            "From a request's begin to the API server's response head",
            head,
        );
        registry.register(
            "connects",
            "Attempts to connect to the server, by how they ended",
            self.connects.clone(),
        );
        self.ways.register(registry);
        registry.register(
            "server_rtt_seconds",
            "Round trip to the server",
            self.rtt.clone(),
        );
        registry.register(
            "upstream_ready",
            "Whether the API server answered the last probe",
            self.upstream_ready.clone(),
        );
    }

    /// Registers what requests may hold.
    pub fn register_held(registry: &mut Registry, held: &Gauge) {
        registry.register_with_unit(
            "ci_tunnel_agent_held",
            "What requests may hold for a slow API server now, beyond quic.initial_window each",
            Unit::Bytes,
            held.clone(),
        );
    }

    /// Registers what `upstream` counts.
    pub fn register_upstream(registry: &mut Registry, counters: &upstream::Counters) {
        let registry = registry.sub_registry_with_prefix("ci_tunnel_agent_upstream");
        registry.register(
            "dials",
            "New connections to the API server",
            counters.dials.clone(),
        );
        registry.register(
            "dial_failures",
            "New connections that failed",
            counters.dial_failures.clone(),
        );
        registry.register(
            "reused",
            "Requests on a pooled connection",
            counters.reused.clone(),
        );
        registry.register(
            "rejected",
            "Answers 401 to the agent",
            counters.rejected.clone(),
        );
    }

    /// A request is counted as running until [`Running::ends`], or until it is dropped.
    pub fn request_begins(self: &Arc<Self>) -> Running {
        self.running.inc();
        Running(Arc::clone(self))
    }

    pub fn response_head(&self, after: Duration) {
        self.response_head.observe(after.as_secs_f64());
    }

    pub fn bytes_up(&self) -> Counter {
        self.bytes_up.clone()
    }

    pub fn bytes_down(&self, count: usize) {
        self.bytes_down.inc_by(count as u64);
    }

    pub fn raw_bytes(&self, up: u64, down: u64) {
        self.bytes_up.inc_by(up);
        self.bytes_down.inc_by(down);
    }

    /// Counts an upgraded connection for as long as the guard lives.
    pub fn upgraded(&self) -> Counted {
        Counted::new(&self.upgraded)
    }

    pub fn connect_ended(&self, outcome: &'static str) {
        self.connects.get_or_create(&Ended { outcome }).inc();
    }

    pub fn upstream_ready(&self, ready: bool) {
        self.upstream_ready.set(i64::from(ready));
    }

    pub fn rtt(&self, rtt: Duration) {
        self.rtt.set(rtt.as_secs_f64());
    }
}

/// A request under way.
#[derive(Debug)]
pub struct Running(Arc<Metrics>);

impl Running {
    pub fn ends(self, outcome: Outcome) {
        match outcome {
            Outcome::Done => self.0.done.inc(),
            other => self
                .0
                .requests
                .get_or_create(&Ended {
                    outcome: other.name(),
                })
                .inc(),
        };
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.dec();
    }
}

/// One more in a gauge, until it is dropped.
#[derive(Debug)]
pub struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
