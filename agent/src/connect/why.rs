//! Why the transport in use is the one in use, for logs and metrics.

use std::fmt;
use std::time::Duration;

use super::error::Error;
use super::quic::Trying;
use super::server::Server;

/// A reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Why {
    /// For metrics.
    pub(super) label: &'static str,
    text: String,
}

const BACK: &str = "back";

impl Why {
    pub(super) fn configured() -> Self {
        Self::new("configured", "the setting `transport` names it")
    }

    pub(super) fn preferred() -> Self {
        Self::new("preferred", "QUIC gets through")
    }

    pub(super) fn back() -> Self {
        Self::new(BACK, "QUIC gets through again")
    }

    /// QUIC had its head start, and gave no sign.
    pub(super) fn no_handshake(server: &Server, trying: &Trying, after: Duration) -> Self {
        let address = *trying.lock().expect("nobody panics while holding it");
        let target = address.map_or_else(|| server.authority(), |address| address.to_string());
        let text = format!(
            "QUIC: no handshake in {} s to {target}/udp; UDP is probably blocked",
            after.as_secs()
        );
        Self::new("no_handshake", text)
    }

    /// QUIC failed outright.
    pub(super) fn failed(error: &Error) -> Self {
        Self::new("failed", format!("QUIC: {error}"))
    }

    /// Whether it is QUIC after something else.
    pub(super) fn is_back(&self) -> bool {
        self.label == BACK
    }

    fn new(label: &'static str, text: impl Into<String>) -> Self {
        Self {
            label,
            text: text.into(),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
