//! The server to connect to: where it is, how it is known, and by which ways it may be reached.

use std::net::SocketAddr;
use std::time::Duration;

use ci_tunnel::config::net::Quic;
use ci_tunnel::transport::tls::Trust;
use serde::Deserialize;
use tokio::time::timeout;

use super::error::Error;
use super::proxy::Proxies;

const RESOLVE_DEADLINE: Duration = Duration::from_secs(5);

/// The server to connect to.
#[derive(Debug, Clone)]
pub struct Server {
    pub host: String,
    pub port: u16,
    /// The name that its certificate must carry.
    pub name: String,
    pub trust: Trust,
    pub quic: Quic,
    pub choice: Choice,
    /// For TCP alone.
    pub proxies: Proxies,
    /// How often QUIC is tried while it is not what is used.
    pub quic_retry: Duration,
}

/// What may carry the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// QUIC, and HTTP/2 where that does not get through.
    #[default]
    Auto,
    Quic,
    Http2,
}

impl Server {
    /// `host:port`, as URLs and CONNECT write it.
    pub fn authority(&self) -> String {
        authority(&self.host, self.port)
    }

    /// Its addresses, as they are now.
    ///
    /// # Errors
    /// There are none, or not in time.
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>, Error> {
        resolve(&self.host, self.port).await
    }
}

pub(super) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

pub(super) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    let name = || host.to_owned();
    let addresses: Vec<_> =
        match timeout(RESOLVE_DEADLINE, tokio::net::lookup_host((host, port))).await {
            Ok(Ok(addresses)) => addresses.collect(),
            Ok(Err(source)) => {
                return Err(Error::Resolve {
                    host: name(),
                    source,
                });
            }
            Err(_) => {
                return Err(Error::ResolveLate {
                    host: name(),
                    after: RESOLVE_DEADLINE.as_secs(),
                });
            }
        };
    if addresses.is_empty() {
        Err(Error::NoAddress { host: name() })
    } else {
        Ok(addresses)
    }
}
