//! `timeouts` in `server.yaml`.

use std::time::Duration;

use ci_tunnel::config::value::duration;
use serde::Deserialize;

/// How long to wait for what.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// For an agent that is away. Default 20s.
    #[serde(with = "duration")]
    pub hold: Duration,
    /// For a stream on an agent's connection. Default 5s.
    #[serde(with = "duration")]
    pub open_stream: Duration,
    /// For the head of a request. Default 10s.
    #[serde(with = "duration")]
    pub request_head: Duration,
    /// For the head of a response, from the end of the request. Default 2m.
    #[serde(with = "duration")]
    pub response_head: Duration,
    /// For a further request on a client's connection. Default 5m: longer than clients keep theirs, so that they close
    /// first; a request on a connection that is just being closed is lost.
    #[serde(with = "duration")]
    pub idle_connection: Duration,
    /// For the API server to take any of an upload. Default 10m; 0: for ever.
    #[serde(with = "duration")]
    pub stalled_upload: Duration,
    /// For a client to read any of an answer that holds more than `quic.initial_window`, while other requests want what it
    /// holds. Default 30s; 0: for ever.
    #[serde(with = "duration")]
    pub stalled_download: Duration,
    /// For running requests when the server ends. Default 30s.
    #[serde(with = "duration")]
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(20),
            open_stream: Duration::from_secs(5),
            request_head: Duration::from_secs(10),
            response_head: Duration::from_secs(120),
            idle_connection: Duration::from_secs(300),
            stalled_upload: Duration::from_secs(600),
            stalled_download: Duration::from_secs(30),
            drain: Duration::from_secs(30),
        }
    }
}

impl Timeouts {
    /// The first that is zero and must not be: no hold and no time to drain make sense; no time for what every request
    /// needs refuses every request.
    pub(super) fn zero(&self) -> Option<&'static str> {
        let all = [
            ("timeouts.open_stream", self.open_stream),
            ("timeouts.request_head", self.request_head),
            ("timeouts.response_head", self.response_head),
            ("timeouts.idle_connection", self.idle_connection),
        ];
        let zero = all.iter().find(|(_, time)| time.is_zero());
        zero.map(|(name, _)| *name)
    }
}
