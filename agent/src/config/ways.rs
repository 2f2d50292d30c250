//! By which ways the server may be reached: QUIC, HTTP/2, a proxy.

use std::time::Duration;

use ci_tunnel::config::value::Secret;

use super::{Error, File, Flags, invalid};
use crate::connect::{Choice, Proxies};

/// The variable over the file's `server_proxy`. There is no flag for it: arguments are visible to all processes, and the
/// URL may hold a password.
const PROXY_VARIABLE: &str = "CI_TUNNEL_SERVER_PROXY";
/// Each try of QUIC is a handshake at the server.
const SHORTEST_RETRY: Duration = Duration::from_secs(1);

/// The ways of a configuration.
#[derive(Debug, Clone)]
pub struct Ways {
    pub choice: Choice,
    pub quic_retry: Duration,
    pub proxies: Proxies,
}

pub(super) fn overlay(
    file: &mut File,
    flags: &Flags,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<(), Error> {
    if let Some(text) = &flags.transport {
        file.transport = match text.as_str() {
            "auto" => Choice::Auto,
            "quic" => Choice::Quic,
            "http2" => Choice::Http2,
            _ => {
                let reason = format!("{text:?} is none of auto, quic, http2");
                return Err(invalid("transport", reason));
            }
        };
    }
    if let Some(url) = variable(PROXY_VARIABLE).filter(|url| !url.is_empty()) {
        let url = Secret::new(&url).map_err(|error| invalid("server_proxy", error))?;
        file.server_proxy = Some(url);
    }
    Ok(())
}

pub(super) fn check(
    file: &File,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<Ways, Error> {
    if file.quic_retry < SHORTEST_RETRY {
        return Err(invalid("quic_retry", "must be 1s or more"));
    }
    let proxies = match file.server_proxy.as_ref().map(Secret::expose) {
        Some("off") => Proxies::none(),
        Some(url) => Proxies::fixed(url).map_err(|error| invalid("server_proxy", error))?,
        None => Proxies::environment(variable),
    };
    Ok(Ways {
        choice: file.transport,
        quic_retry: file.quic_retry,
        proxies,
    })
}

#[cfg(test)]
mod tests;
