//! Hosts, ports and URLs as people write them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::de::{Deserializer, Error, Visitor};

/// Reads a field that says where to listen.
pub(super) fn listen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    deserializer.deserialize_str(Listen)
}

// A visitor, since what is wrong is told with the field's own path only while it is read.
struct Listen;

impl Visitor<'_> for Listen {
    type Value = SocketAddr;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address to listen on, as 0.0.0.0:8154 or [::]:8154")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<SocketAddr, E> {
        text.parse().map_err(|_| {
            E::custom(format_args!(
                "{text:?} is not an address to listen on: write IP:PORT, as 0.0.0.0:8154 or [::]:8154"
            ))
        })
    }
}

/// The host of `https://host[:port]`.
pub(super) fn host_of(url: &str) -> Option<&str> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))?;
    let host = match rest.strip_prefix('[') {
        Some(v6) => v6.split_once(']')?.0,
        None => rest.split_once(':').map_or(rest, |(host, _)| host),
    };
    let port = rest
        .rsplit_once(':')
        .filter(|(before, _)| !before.is_empty() && !rest.ends_with(']'));
    let port_is_a_number = port.is_none_or(|(_, port)| port.parse::<u16>().is_ok());
    (is_host(host) && port_is_a_number).then_some(host)
}

fn is_host(host: &str) -> bool {
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    host.parse::<IpAddr>().is_ok() || (!host.is_empty() && host.chars().all(name))
}

pub(super) fn is_host_and_port(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| {
        is_host(host.trim_start_matches('[').trim_end_matches(']')) && port.parse::<u16>().is_ok()
    })
}
