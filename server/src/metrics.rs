//! Every metric of the server, in one place: names as exposed, help texts, labels.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Handles to the metrics; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub requests: Family<RequestLabels, Counter>,
    pub request_head_seconds: Histogram,
    pub requests_running: Gauge,
    pub bytes: Family<DirectionLabels, Counter>,
    pub refusals: Family<ReasonLabels, Counter>,
    pub cuts: Family<ReasonLabels, Counter>,
    pub agent_sessions: Gauge,
    pub agent_admissions: Family<ReasonLabels, Counter>,
    pub client_connections: Gauge,
    pub client_connections_failed: Family<ReasonLabels, Counter>,
    pub routing_retries: Counter,
    pub audit_lost: Counter,
    pub configuration_problems: Gauge,
    pub configuration_files: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// `<configuration project>:<agent name>`; empty where the request named none that exists.
    pub agent: String,
    pub code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DirectionLabels {
    /// `up` (from the job) or `down` (to the job).
    pub direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabels {
    pub reason: &'static str,
}

impl Metrics {
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            request_head_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            requests_running: Gauge::default(),
            bytes: Family::default(),
            refusals: Family::default(),
            cuts: Family::default(),
            agent_sessions: Gauge::default(),
            agent_admissions: Family::default(),
            client_connections: Gauge::default(),
            client_connections_failed: Family::default(),
            routing_retries: Counter::default(),
            audit_lost: Counter::default(),
            configuration_problems: Gauge::default(),
            configuration_files: Gauge::default(),
        };
        metrics.register(registry.sub_registry_with_prefix("ci_tunnel_server"));
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "requests",
            "Requests of jobs that have ended",
            self.requests.clone(),
        );
        registry.register(
            "request_head_seconds",
            "Time from a request's head to its response's head",
            self.request_head_seconds.clone(),
        );
        registry.register(
            "requests_running",
            "Requests of jobs that run now",
            self.requests_running.clone(),
        );
        registry.register(
            "bytes",
            "Bytes of bodies and upgraded connections",
            self.bytes.clone(),
        );
        registry.register(
            "refusals",
            "Requests that this server refused, by reason",
            self.refusals.clone(),
        );
        registry.register(
            "cuts",
            "Running requests that this server ended, by reason",
            self.cuts.clone(),
        );
        registry.register(
            "agent_sessions",
            "Agent connections that are admitted now",
            self.agent_sessions.clone(),
        );
        registry.register(
            "agent_admissions",
            "Agent connections by how admission ended",
            self.agent_admissions.clone(),
        );
        registry.register(
            "client_connections",
            "Connections of clients that are open now",
            self.client_connections.clone(),
        );
        registry.register(
            "client_connections_failed",
            "Connections of clients that failed before a request, by phase",
            self.client_connections_failed.clone(),
        );
        registry.register(
            "routing_retries",
            "Requests that went to another session of their agent because the first took no stream",
            self.routing_retries.clone(),
        );
        registry.register(
            "audit_lost",
            "Audit lines that could not be written",
            self.audit_lost.clone(),
        );
        registry.register(
            "configuration_problems",
            "Agent configuration files whose newest version is refused",
            self.configuration_problems.clone(),
        );
        registry.register(
            "configuration_files",
            "Agent configuration files in force",
            self.configuration_files.clone(),
        );
    }
}
