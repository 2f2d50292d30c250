//! Every metric of the server, in one place: names as exposed, help texts, labels.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Handles to the metrics; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub requests: Family<RequestLabels, Counter>,
    pub request_head_seconds: Histogram,
    pub requests_running: Gauge,
    bytes: Family<DirectionLabels, Counter>,
    /// Of `bytes`, looked up once: every request counts here.
    pub bytes_up: Counter,
    pub bytes_down: Counter,
    pub refusals: Family<ReasonLabels, Counter>,
    pub cuts: Family<ReasonLabels, Counter>,
    pub limited: Family<LimitLabels, Counter>,
    pub agent_sessions: Family<TransportLabels, Gauge>,
    pub agent_sessions_in_trouble: Family<TroubleLabels, Gauge>,
    pub agent_troubles: Family<TroubleLabels, Counter>,
    pub agent_admissions: Family<AdmissionLabels, Counter>,
    pub agent_handshakes: Family<OutcomeLabels, Counter>,
    pub client_connections: Gauge,
    pub client_connections_failed: Family<ReasonLabels, Counter>,
    pub routing_retries: Counter,
    pub audit_lost: Counter,
    pub configuration_problems: Gauge,
    pub configuration_files: Gauge,
    pub configuration_fetches: Family<LookLabels, Counter>,
    pub configuration_fetched: Family<RepositoryLabels, Gauge>,
    pub configuration_failing: Family<RepositoryLabels, Gauge>,
    pub job_token_asks: Family<ReasonLabels, Counter>,
    pub oidc_fetches: Family<FetchLabels, Counter>,
    pub oidc_keys: Family<ProviderLabels, Gauge>,
    pub oidc_keys_fetched: Family<ProviderLabels, Gauge>,
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
pub struct TransportLabels {
    /// `quic` or `http2`.
    pub transport: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AdmissionLabels {
    pub reason: &'static str,
    pub transport: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TroubleLabels {
    /// `api_server`, `stuck` or `silent`.
    pub trouble: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    pub outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabels {
    pub reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RepositoryLabels {
    /// The URL, as the server's file writes it.
    pub repository: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LookLabels {
    pub repository: String,
    /// `unchanged`, `read` or `failed`.
    pub outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ProviderLabels {
    pub provider: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FetchLabels {
    pub provider: String,
    /// `ok` or `failed`.
    pub result: &'static str,
}

/// Which limit: `limits.<scope>.<limit>` in the server's file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LimitLabels {
    pub scope: &'static str,
    pub limit: &'static str,
}

impl Metrics {
    pub fn new(registry: &mut Registry) -> Self {
        let bytes = Family::<DirectionLabels, Counter>::default();
        let metrics = Self {
            requests: Family::default(),
            request_head_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            requests_running: Gauge::default(),
            bytes_up: bytes.get_or_create_owned(&DirectionLabels { direction: "up" }),
            bytes_down: bytes.get_or_create_owned(&DirectionLabels { direction: "down" }),
            bytes,
            refusals: Family::default(),
            cuts: Family::default(),
            limited: Family::default(),
            agent_sessions: Family::default(),
            agent_sessions_in_trouble: Family::default(),
            agent_troubles: Family::default(),
            agent_admissions: Family::default(),
            agent_handshakes: Family::default(),
            client_connections: Gauge::default(),
            client_connections_failed: Family::default(),
            routing_retries: Counter::default(),
            audit_lost: Counter::default(),
            configuration_problems: Gauge::default(),
            configuration_files: Gauge::default(),
            configuration_fetches: Family::default(),
            configuration_fetched: Family::default(),
            configuration_failing: Family::default(),
            job_token_asks: Family::default(),
            oidc_fetches: Family::default(),
            oidc_keys: Family::default(),
            oidc_keys_fetched: Family::default(),
        };
        metrics.register(registry.sub_registry_with_prefix("ci_tunnel_server"));
        metrics
    }

    /// Of a command of the command line: nobody reads them.
    pub fn unread() -> Self {
        Self::new(&mut Registry::default())
    }

    fn register(&self, registry: &mut Registry) {
        self.register_requests(registry);
        self.register_neighbours(registry);
        self.register_repositories(registry);
        self.register_providers(registry);
    }

    fn register_requests(&self, registry: &mut Registry) {
        let requests = self.requests.clone();
        registry.register("requests", "Requests of jobs that have ended", requests);
        let head = "Time from a request's head to its response's head";
        let head_seconds = self.request_head_seconds.clone();
        registry.register("request_head_seconds", head, head_seconds);
        let running = self.requests_running.clone();
        registry.register("requests_running", "Requests of jobs that run now", running);
        let bytes = "Bytes of bodies and upgraded connections";
        registry.register("bytes", bytes, self.bytes.clone());
        let refusals = "Requests that this server refused, by reason";
        registry.register("refusals", refusals, self.refusals.clone());
        let cuts = "Running requests that this server ended, by reason";
        registry.register("cuts", cuts, self.cuts.clone());
        let limited =
            "Requests and connections refused, and pieces of streams held back, by the limit";
        registry.register("limited", limited, self.limited.clone());
        let retries = "Requests that went to another session because the first took no stream";
        registry.register("routing_retries", retries, self.routing_retries.clone());
        let lost = "Audit lines that could not be written";
        registry.register("audit_lost", lost, self.audit_lost.clone());
    }

    fn register_neighbours(&self, registry: &mut Registry) {
        let sessions = "Agent connections that are admitted now";
        registry.register("agent_sessions", sessions, self.agent_sessions.clone());
        let admissions = "Agent connections by how admission ended";
        registry.register(
            "agent_admissions",
            admissions,
            self.agent_admissions.clone(),
        );
        let handshakes =
            "QUIC connection attempts that were put off or sent away before a handshake";
        registry.register(
            "agent_handshakes",
            handshakes,
            self.agent_handshakes.clone(),
        );
        let troubled = "Agent connections that requests avoid, by why";
        let in_trouble = self.agent_sessions_in_trouble.clone();
        registry.register("agent_sessions_in_trouble", troubled, in_trouble);
        let troubles = "Times that an agent connection came into such trouble";
        registry.register("agent_troubles", troubles, self.agent_troubles.clone());
        let connections = "Connections of clients that are open now";
        registry.register(
            "client_connections",
            connections,
            self.client_connections.clone(),
        );
        let failed = "Connections of clients that broke, by phase";
        let client_failed = self.client_connections_failed.clone();
        registry.register("client_connections_failed", failed, client_failed);
    }

    fn register_repositories(&self, registry: &mut Registry) {
        let problems = "Agent configuration files whose newest version is refused";
        let configuration_problems = self.configuration_problems.clone();
        registry.register("configuration_problems", problems, configuration_problems);
        let files = "Agent configuration files in force";
        registry.register(
            "configuration_files",
            files,
            self.configuration_files.clone(),
        );
        let fetches = "Looks at a project's git repository, by how they ended";
        let configuration_fetches = self.configuration_fetches.clone();
        registry.register("configuration_fetches", fetches, configuration_fetches);
        let fetched =
            "When a project's git repository was last looked at with success, in Unix time";
        let configuration_fetched = self.configuration_fetched.clone();
        registry.register_with_unit(
            "configuration_fetched_timestamp",
            fetched,
            Unit::Seconds,
            configuration_fetched,
        );
        let failing = "Projects whose git repository could not be looked at the last time";
        let configuration_failing = self.configuration_failing.clone();
        registry.register(
            "configuration_failing_projects",
            failing,
            configuration_failing,
        );
    }

    fn register_providers(&self, registry: &mut Registry) {
        let asks = "Times that GitLab was to be asked about a job token, by what came of it";
        registry.register("job_token_asks", asks, self.job_token_asks.clone());
        let fetches = "Times that a provider's keys were fetched";
        registry.register("oidc_key_fetches", fetches, self.oidc_fetches.clone());
        let keys = "Keys of a provider that can verify its ID tokens";
        registry.register("oidc_keys", keys, self.oidc_keys.clone());
        let fetched = "When a provider's keys were last fetched, in seconds since 1970";
        registry.register(
            "oidc_keys_fetched_timestamp_seconds",
            fetched,
            self.oidc_keys_fetched.clone(),
        );
    }
}
