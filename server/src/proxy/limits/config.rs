//! `limits` in the server's file: each scope's limits, and what holds where the file says nothing.

use ci_tunnel::config::value::ByteSize;
use serde::{Deserialize, Serialize};

/// `limits` in the server's file. A limit of zero is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Config {
    /// For each job. Default: 1000 requests a second, 500 at a time.
    pub job: Limit,
    /// For each project, over all its jobs. Default: 5000 requests a second, 2000 at a time.
    pub project: Limit,
    /// For each agent, over all jobs that use it. Default: 10000 requests a second, 10000 at a time.
    pub agent: Limit,
    /// For each address from which clients come that have not shown a good credential.
    pub address: AddressLimit,
}

/// The limits of one scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// Requests that begin in a second; twice as many may come at once.
    pub requests_per_second: u32,
    /// Requests that run at a time, watches and upgrades included.
    pub concurrent: u32,
    /// Bytes of bodies and upgraded connections in a second, both directions together. Default: no limit, since what
    /// is right depends on the link, and a limit that nobody asked for looks like a slow network.
    pub bytes_per_second: ByteSize,
}

/// The limits of one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AddressLimit {
    /// Connections at a time that have not shown a good credential. Default 1000: a whole fleet of runners may come
    /// from one address.
    pub connections: u32,
    /// Requests that are rejected in a second before a good credential was shown; then requests on connections without one
    /// are not looked at until it is over. Default 100.
    pub rejected_per_second: u32,
}

/// Why limits are no limits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "limits.{scope}.bytes_per_second is {size}: it must be {} at least, or 0 for no limit",
    LEAST_RATE
)]
pub struct Error {
    scope: &'static str,
    size: ByteSize,
}

/// Below this a single packet would hold a terminal up noticeably.
const LEAST_RATE: ByteSize = ByteSize::kib(16);

impl Default for Config {
    fn default() -> Self {
        let limit = |requests_per_second, concurrent| Limit {
            requests_per_second,
            concurrent,
            bytes_per_second: ByteSize::bytes(0),
        };
        Self {
            job: limit(1000, 500),
            project: limit(5000, 2000),
            agent: limit(10_000, 10_000),
            address: AddressLimit::default(),
        }
    }
}

impl Default for AddressLimit {
    fn default() -> Self {
        Self {
            connections: 1000,
            rejected_per_second: 100,
        }
    }
}

impl Config {
    /// # Errors
    /// A rate is too small to be kept evenly.
    pub fn check(&self) -> Result<(), Error> {
        let scopes = [
            ("job", self.job),
            ("project", self.project),
            ("agent", self.agent),
        ];
        for (scope, limit) in scopes {
            let size = limit.bytes_per_second;
            if size.as_u64() > 0 && size < LEAST_RATE {
                return Err(Error { scope, size });
            }
        }
        Ok(())
    }
}

/// As the file has it: what is left out has the scope's default.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    job: WrittenLimit,
    project: WrittenLimit,
    agent: WrittenLimit,
    address: AddressLimit,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenLimit {
    requests_per_second: Option<u32>,
    concurrent: Option<u32>,
    bytes_per_second: Option<ByteSize>,
}

impl WrittenLimit {
    fn or(&self, default: Limit) -> Limit {
        Limit {
            requests_per_second: self
                .requests_per_second
                .unwrap_or(default.requests_per_second),
            concurrent: self.concurrent.unwrap_or(default.concurrent),
            bytes_per_second: self.bytes_per_second.unwrap_or(default.bytes_per_second),
        }
    }
}

impl From<Written> for Config {
    fn from(written: Written) -> Self {
        let default = Self::default();
        Self {
            job: written.job.or(default.job),
            project: written.project.or(default.project),
            agent: written.agent.or(default.agent),
            address: written.address,
        }
    }
}
