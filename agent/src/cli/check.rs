//! `check`: one line for each thing that the agent needs, from its file to its rights in the cluster.

use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ci_tunnel::protocol::code::Code;
use ci_tunnel::protocol::control::Health;
use ci_tunnel::runtime::causes::with_causes;
use ci_tunnel::transport::connection::{Connection, Transport};
use ci_tunnel::transport::credit::Budget;
use http::header::DATE;
use http::{Method, StatusCode};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use prometheus_client::registry::Registry;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::config::Config;
use crate::connect::{self, Choice, Probed, Server};
use crate::metrics::Metrics;
use crate::session::{self, Shared};
use crate::upstream::Upstream;
use crate::{app, health};

const DEADLINE: Duration = Duration::from_secs(10);
/// Tokens and certificates are judged by the clock; this much is forgiven by most that judge.
const MOST_SKEW: Duration = Duration::from_secs(60);

/// What was found, line by line.
struct Report<'a> {
    out: &'a mut (dyn Write + Send),
    healthy: bool,
}

impl Report<'_> {
    fn tell(&mut self, word: &str, name: &str, text: &str) {
        // Nobody reads a check whose output is gone; its exit code still counts.
        let _ = writeln!(self.out, "{word:<5} {name:<12} {text}");
    }

    fn holds(&mut self, name: &str, text: &str) {
        self.tell("ok", name, text);
    }

    fn fails(&mut self, name: &str, text: &str) {
        self.healthy = false;
        self.tell("FAIL", name, text);
    }

    fn note<T, E: Into<anyhow::Error>>(
        &mut self,
        name: &str,
        good: &str,
        result: Result<T, E>,
    ) -> Option<T> {
        match result {
            Ok(value) => {
                self.holds(name, good);
                Some(value)
            }
            Err(error) => {
                self.fails(name, &with_causes(error.into().as_ref()));
                None
            }
        }
    }
}

/// Says that there is no usable configuration, so that nothing else could be looked at.
pub(super) fn unusable(error: &anyhow::Error, out: &mut (dyn Write + Send)) -> bool {
    let mut report = Report { out, healthy: true };
    report.fails("file", &with_causes(error.as_ref()));
    report.healthy
}

/// Looks at everything. Whether all of it holds.
pub(super) async fn all(config: &Config, out: &mut (dyn Write + Send)) -> bool {
    let mut report = Report { out, healthy: true };
    report.holds("file", "the configuration is complete");
    report.note("token", "can be read", config.token.read());
    let upstream = match app::upstream(&config.upstream).await {
        Ok(upstream) => {
            report.holds("credentials", &format!("for {}", upstream.endpoint_text()));
            Some(upstream)
        }
        Err(error) => {
            report.fails("credentials", &with_causes(error.as_ref()));
            None
        }
    };
    if let Some(server) = report.note(
        "trust",
        "the server's certificate can be judged",
        app::server(config),
    ) {
        server_side(config, server, upstream.as_ref(), &mut report).await;
    }
    if let Some(upstream) = &upstream {
        cluster_side(upstream, &mut report).await;
    }
    report.healthy
}

async fn server_side(
    config: &Config,
    server: Server,
    upstream: Option<&Arc<Upstream>>,
    report: &mut Report<'_>,
) {
    if server.host.parse::<IpAddr>().is_err() {
        match server.resolve().await {
            Ok(found) => {
                let found: Vec<_> = found
                    .iter()
                    .map(|address| address.ip().to_string())
                    .collect();
                report.holds("DNS", &format!("{} is {}", server.host, found.join(", ")));
            }
            // A proxy may know the name all the same.
            Err(error) if server.choice != Choice::Quic => {
                report.tell("note", "DNS", &with_causes(&error));
            }
            Err(error) => return report.fails("DNS", &with_causes(&error)),
        }
    }
    let Some(connection) = ways(&server, report).await else {
        return;
    };
    match upstream {
        Some(upstream) => admission(config, &connection, upstream, report).await,
        None => report.fails(
            "admission",
            "not tried: there are no credentials for an API server",
        ),
    }
    connection.close(Code::Done, "check");
}

/// Tries UDP and TCP, whichever may be used; the connection that an agent would use.
async fn ways(server: &Server, report: &mut Report<'_>) -> Option<Connection> {
    let probed = connect::probe(server).await;
    let some = probed.iter().any(|way| way.outcome.is_ok());
    let mut usable = None;
    for Probed { transport, outcome } in probed {
        let (name, below) = match transport {
            Transport::Quic => ("UDP", "QUIC and TLS hold"),
            Transport::Http2 => ("TCP", "TLS and HTTP/2 hold"),
        };
        match outcome {
            Ok(connection) => {
                let address = connection.remote_address();
                let rtt = connection.rtt().as_secs_f64() * 1000.0;
                let mut text = format!("{} at {address}: {below}", server.authority());
                if rtt > 0.0 {
                    text += &format!(", {rtt:.1} ms there and back");
                }
                report.holds(name, &text);
                usable.get_or_insert(connection);
            }
            Err(error) if some => {
                let other = "the agent uses the other way";
                report.tell("note", name, &format!("{}; {other}", with_causes(&error)));
            }
            Err(error) => report.fails(name, &format!("{}: {error}", server.authority())),
        }
    }
    if let Some(connection) = &usable {
        let transport = connection.transport();
        report.holds("transport", &format!("{transport} would carry requests"));
    }
    usable
}

async fn admission(
    config: &Config,
    connection: &Connection,
    upstream: &Arc<Upstream>,
    report: &mut Report<'_>,
) {
    let metrics = Metrics::new(&mut Registry::default());
    let (_findings, health) = watch::channel(Health::default());
    let shared = Arc::new(Shared {
        upstream: Arc::clone(upstream),
        metrics,
        token: config.token.clone(),
        instance: rand::random(),
        pod: config.pod.clone(),
        health,
        settings: session::Settings {
            probe: true,
            quic: config.quic.clone(),
            drain_timeout: Duration::ZERO,
            response_deadline: DEADLINE,
        },
        pace: session::Pace::default(),
        set_aside: watch::Sender::new(None),
        budget: Budget::new(0),
        set_log_level: Box::new(|_| {}),
    });
    let admitted = session::open(connection.clone(), &shared).await;
    if let Some(session) = report.note("admission", "the server knows the token", admitted) {
        report.holds(
            "agent",
            &format!(
                "id {}, server version {}",
                session.agent(),
                session.server_version()
            ),
        );
    }
}

async fn cluster_side(upstream: &Arc<Upstream>, report: &mut Report<'_>) {
    let health = health::ask(upstream).await;
    if !health.ready {
        return report.fails("API server", &health.message);
    }
    report.holds(
        "API server",
        &format!(
            "{} answers, version {}",
            upstream.endpoint_text(),
            health.message
        ),
    );
    clock(upstream, report).await;
    let who = create(
        upstream,
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        &SelfSubjectReview::default(),
    )
    .await;
    match who.map(|who| {
        who.status
            .and_then(|status| status.user_info)
            .and_then(|user| user.username)
    }) {
        Ok(Some(name)) => report.holds(
            "identity",
            &format!("the API server knows this agent as {name}"),
        ),
        Ok(None) => report.fails(
            "identity",
            "the API server does not say as whom it knows this agent",
        ),
        Err(error) => report.fails("identity", &error),
    }
    for (group, resource, subresource) in RIGHTS {
        may_impersonate(upstream, group, resource, *subresource, report).await;
    }
}

/// What identities are made of; the extra is one that every CI job has.
const RIGHTS: &[(&str, &str, Option<&str>)] = &[
    ("", "users", None),
    ("", "groups", None),
    ("", "serviceaccounts", None),
    ("authentication.k8s.io", "uids", None),
    (
        "authentication.k8s.io",
        "userextras",
        Some("agent.ci-tunnel.dev/project_id"),
    ),
];

/// Not a failure: an agent whose rules all say `access_as: agent` needs no such right, and `resourceNames` may narrow it.
async fn may_impersonate(
    upstream: &Arc<Upstream>,
    group: &str,
    resource: &str,
    subresource: Option<&str>,
    report: &mut Report<'_>,
) {
    let what = match subresource {
        Some(subresource) => format!("{resource}/{subresource}"),
        None => resource.to_owned(),
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                verb: Some("impersonate".to_owned()),
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource: subresource.map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let answer = create(
        upstream,
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        &review,
    )
    .await;
    match answer.map(|answer| answer.status.is_some_and(|status| status.allowed)) {
        Ok(true) => report.holds("rights", &format!("may impersonate any of {what}")),
        Ok(false) => report.tell(
            "note",
            "rights",
            &format!("may not impersonate all {what} (resourceNames may still allow some)"),
        ),
        Err(error) => report.fails("rights", &error),
    }
}

async fn clock(upstream: &Arc<Upstream>, report: &mut Report<'_>) {
    let answer = upstream
        .ask(Method::GET, health::PATH, None, DEADLINE)
        .await
        .ok();
    let date = answer
        .as_ref()
        .and_then(|answer| answer.headers().get(DATE)?.to_str().ok());
    let Some(theirs) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) else {
        return report.tell(
            "note",
            "clock",
            "the API server does not say what time it is",
        );
    };
    let skew = jiff::Timestamp::now()
        .duration_since(theirs.timestamp())
        .unsigned_abs();
    let text = format!("{} s from the API server's", skew.as_secs());
    if skew > MOST_SKEW {
        report.fails("clock", &text)
    } else {
        report.holds("clock", &text)
    }
}

async fn create<T: Serialize + DeserializeOwned>(
    upstream: &Arc<Upstream>,
    path: &'static str,
    object: &T,
) -> Result<T, String> {
    let json = serde_json::to_vec(object).map_err(|error| error.to_string())?;
    match upstream
        .ask(Method::POST, path, Some(Bytes::from(json)), DEADLINE)
        .await
    {
        Ok(answer) if matches!(answer.status(), StatusCode::OK | StatusCode::CREATED) => {
            serde_json::from_slice(answer.body()).map_err(|error| format!("{path}: {error}"))
        }
        Ok(answer) => Err(format!("{path} gave {}", answer.status())),
        Err(error) => Err(error.to_string()),
    }
}
