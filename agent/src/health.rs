//! Whether the API server answers: asked every few seconds, known to sessions, readiness and metrics.

use std::sync::Arc;
use std::time::Duration;

use ci_tunnel::protocol::control::Health;
use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::metrics::Metrics;
use crate::upstream::Upstream;

/// How often it is asked.
const EVERY: Duration = Duration::from_secs(10);
/// What an answer may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// The reader of a control message takes no more.
const MAX_MESSAGE: usize = 200;

/// What the probe asks for: every authenticated user may read it, and it names the version.
pub const PATH: &str = "/version";

#[derive(Deserialize)]
struct Version {
    #[serde(rename = "gitVersion")]
    git_version: String,
}

/// Probes until it is dropped; each finding goes to `findings`.
pub async fn probe(
    upstream: Arc<Upstream>,
    metrics: Arc<Metrics>,
    findings: watch::Sender<Health>,
) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let health = ask(&upstream).await;
        metrics.upstream_ready(health.ready);
        findings.send_if_modified(|before| {
            let changed = *before != health;
            if changed {
                log(&health, &upstream);
                *before = health;
            }
            changed
        });
    }
}

/// One probe.
pub async fn ask(upstream: &Arc<Upstream>) -> Health {
    let answer = match upstream.ask(Method::GET, PATH, None, DEADLINE).await {
        Ok(answer) => answer,
        Err(error) => {
            return Health {
                ready: false,
                message: plain(&error.to_string()),
            };
        }
    };
    let message = match answer.status() {
        StatusCode::OK => match serde_json::from_slice::<Version>(answer.body()) {
            Ok(version) => {
                return Health {
                    ready: true,
                    message: plain(&version.git_version),
                };
            }
            Err(_) => format!("{PATH} gave no version: is this a Kubernetes API server?"),
        },
        // An RBAC that takes /version away from everybody still leaves an API server that answers.
        StatusCode::FORBIDDEN => {
            return Health {
                ready: true,
                message: "version unknown".to_owned(),
            };
        }
        StatusCode::UNAUTHORIZED => {
            "the API server does not accept the agent's credentials (401)".to_owned()
        }
        status => format!("{PATH} gave {status}"),
    };
    Health {
        ready: false,
        message: plain(&message),
    }
}

fn log(health: &Health, upstream: &Upstream) {
    let endpoint = upstream.endpoint_text();
    if health.ready {
        info!(%endpoint, version = %health.message, "the API server answers");
    } else {
        warn!(%endpoint, reason = %health.message, "the API server does not answer");
    }
}

fn plain(text: &str) -> String {
    text.chars()
        .filter(|char| !char.is_control())
        .take(MAX_MESSAGE)
        .collect()
}
