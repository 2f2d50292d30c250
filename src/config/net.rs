//! What several parts' configurations have in common: certificates, logs and the knobs of QUIC.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::value::{ByteSize, duration};

/// A certificate and its key, as PEM files. Both are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate, then the intermediate ones.
    pub certificate: PathBuf,
    /// The private key: PKCS#8, SEC1 or PKCS#1.
    pub key: PathBuf,
}

/// The default of [`LogConfig::level`].
pub const DEFAULT_LOG_LEVEL: &str = "info";

/// What is logged, and how it looks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a list as `info,ci_tunnel=debug`. Default `info`.
    /// The environment variable `RUST_LOG` overrules it.
    pub level: String,
    /// Default `text`.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            level: DEFAULT_LOG_LEVEL.to_owned(),
            format: LogFormat::default(),
        }
    }
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// The default of [`Quic::max_streams`]. A watch holds a stream for as long as it lasts, so 100 would be a ceiling.
pub const DEFAULT_MAX_STREAMS: u32 = 4096;
/// The default of [`Quic::initial_window`]. As much as a stalled reader costs whatever else happens, times
/// [`Quic::max_streams`]; most answers are smaller.
pub const DEFAULT_INITIAL_WINDOW: ByteSize = ByteSize::kib(32);
/// The default of [`Quic::stream_window`]. At 100 ms there and back it carries 40 MB/s a stream. quinn ends a connection whose
/// reader finds more than 1024 gaps in a stream, which lost packets make of more than this.
pub const DEFAULT_STREAM_WINDOW: ByteSize = ByteSize::mib(4);
/// The default of [`Quic::connection_budget`].
pub const DEFAULT_CONNECTION_BUDGET: ByteSize = ByteSize::mib(64);
/// The default of [`Quic::budget`].
pub const DEFAULT_BUDGET: ByteSize = ByteSize::mib(256);
/// The default of [`Quic::send_window`]. The peer's credit bounds what streams have on their way; this only keeps a path that
/// is dead from filling memory, and must not be what a small request waits for.
pub const DEFAULT_SEND_WINDOW: ByteSize = ByteSize::mib(64);
/// The default of [`Quic::idle_timeout`]: three lost keep-alives.
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// The default of [`Quic::keep_alive`]. Shorter than the 30 s after which NATs forget a UDP flow.
pub const DEFAULT_KEEP_ALIVE: Duration = Duration::from_secs(5);
/// The default of [`Quic::udp_buffer`].
pub const DEFAULT_UDP_BUFFER: ByteSize = ByteSize::mib(4);
/// The default of [`Quic::initial_mtu`]: what every QUIC path must carry.
pub const DEFAULT_INITIAL_MTU: u16 = 1200;
/// The default of [`Quic::max_mtu`]: Ethernet's usual frames, less the headers of IPv6 and UDP.
pub const DEFAULT_MAX_MTU: u16 = 1452;

/// The knobs of a QUIC endpoint. The defaults are meant to be left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quic {
    /// Most requests at a time on one connection. Default 4096.
    pub max_streams: u32,
    /// Bytes of one request that the peer may send unasked, each way. Default 32KiB.
    pub initial_window: ByteSize,
    /// Most bytes of one request that wait for a slow reader, when the path needs so much. Default 4MiB.
    pub stream_window: ByteSize,
    /// Most bytes that wait for slow readers on one connection, beyond `initial_window` for each request. Default 64MiB.
    pub connection_budget: ByteSize,
    /// The same for all connections of the process. Default 256MiB.
    pub budget: ByteSize,
    /// Most bytes sent but not yet acknowledged, over all requests of a connection. Default 64MiB.
    pub send_window: ByteSize,
    /// A connection over which nothing came for so long is lost. Default 15s.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// A silent connection sends a packet this often; must be less than half of `idle_timeout`. Default 5s.
    #[serde(with = "duration")]
    pub keep_alive: Duration,
    /// Default `cubic`.
    pub congestion: Congestion,
    /// The kernel's buffers of the UDP socket, each way; the kernel may give less. Default 4MiB.
    pub udp_buffer: ByteSize,
    /// Whether to look for larger packets that the path carries, up to `max_mtu`. Default true.
    pub mtu_discovery: bool,
    /// The size of the first packets, 1200 to 65527. Default 1200.
    pub initial_mtu: u16,
    /// The size of the largest packets to look for, and to take, `initial_mtu` to 65527. Default 1452.
    pub max_mtu: u16,
    /// Whether to hand the kernel many packets at once; off for network cards that lose these. Default true.
    pub gso: bool,
}

impl Default for Quic {
    fn default() -> Self {
        Self {
            max_streams: DEFAULT_MAX_STREAMS,
            initial_window: DEFAULT_INITIAL_WINDOW,
            stream_window: DEFAULT_STREAM_WINDOW,
            connection_budget: DEFAULT_CONNECTION_BUDGET,
            budget: DEFAULT_BUDGET,
            send_window: DEFAULT_SEND_WINDOW,
            idle_timeout: DEFAULT_IDLE_TIMEOUT,
            keep_alive: DEFAULT_KEEP_ALIVE,
            congestion: Congestion::default(),
            udp_buffer: DEFAULT_UDP_BUFFER,
            mtu_discovery: true,
            initial_mtu: DEFAULT_INITIAL_MTU,
            max_mtu: DEFAULT_MAX_MTU,
            gso: true,
        }
    }
}

/// What decides how fast to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Congestion {
    /// Bottleneck bandwidth and round-trip time: better on lossy paths, experimental in quinn.
    Bbr,
    /// What most of TCP uses.
    #[default]
    Cubic,
}

/// Why the knobs do not fit together. The messages name the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The first packets are too small for QUIC or too large for UDP.
    #[error("quic.initial_mtu is {0}: it must be from 1200 to 65527")]
    InitialMtu(u16),
    /// The largest packets are smaller than the first ones, or too large for UDP.
    #[error("quic.max_mtu is {max}: it must be from quic.initial_mtu ({initial}) to 65527")]
    MaxMtu {
        /// The largest.
        max: u16,
        /// The first.
        initial: u16,
    },
    /// One lost keep-alive would end the connection.
    #[error("quic.keep_alive is {}: it must be more than 0s and less than half of quic.idle_timeout ({})",
        duration::format(*keep_alive), duration::format(*idle_timeout))]
    KeepAlive {
        /// The interval.
        keep_alive: Duration,
        /// The timeout.
        idle_timeout: Duration,
    },
    /// A limit of nothing carries nothing, and one over 4GiB is a mistake.
    #[error("quic.{field} must be more than 0 and at most 4GiB")]
    OutOfRange {
        /// The field.
        field: &'static str,
    },
}

impl Quic {
    /// Whether the knobs fit together.
    ///
    /// # Errors
    /// The first field that does not.
    pub fn check(&self) -> Result<(), Error> {
        const MOST: u64 = 4 << 30;
        let sizes = [
            ("max_streams", u64::from(self.max_streams)),
            ("initial_window", self.initial_window.as_u64()),
            ("stream_window", self.stream_window.as_u64()),
            ("send_window", self.send_window.as_u64()),
            ("udp_buffer", self.udp_buffer.as_u64()),
        ];
        if let Some((field, _)) = sizes.iter().find(|(_, size)| *size == 0 || *size > MOST) {
            return Err(Error::OutOfRange { field });
        }
        if self.keep_alive.is_zero() || self.keep_alive.saturating_mul(2) >= self.idle_timeout {
            return Err(Error::KeepAlive {
                keep_alive: self.keep_alive,
                idle_timeout: self.idle_timeout,
            });
        }
        if !(1200..=65527).contains(&self.initial_mtu) {
            return Err(Error::InitialMtu(self.initial_mtu));
        }
        if !(self.initial_mtu..=65527).contains(&self.max_mtu) {
            return Err(Error::MaxMtu {
                max: self.max_mtu,
                initial: self.initial_mtu,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::{from_str, to_string};

    #[test]
    fn empty_is_the_defaults_and_the_defaults_are_valid() {
        let quic: Quic = from_str("", "f.yaml").unwrap();
        assert_eq!(quic, Quic::default());
        assert_eq!(quic.check(), Ok(()));
        assert_eq!(
            from_str::<Quic>(&to_string(&quic).unwrap(), "f.yaml").unwrap(),
            quic
        );
        assert_eq!(
            from_str::<LogConfig>("", "f.yaml").unwrap(),
            LogConfig::default()
        );
    }

    #[test]
    fn reads_every_knob() {
        let text = "{max_streams: 8, initial_window: 16KiB, stream_window: 64KiB, connection_budget: 1MiB, budget: 0, send_window: 1MiB, idle_timeout: 30s, keep_alive: 10s, \
                    congestion: bbr, udp_buffer: 2MiB, mtu_discovery: false, initial_mtu: 1400, max_mtu: 8952, gso: false}";
        let quic: Quic = from_str(text, "f.yaml").unwrap();
        assert_eq!(
            (quic.congestion, quic.stream_window),
            (Congestion::Bbr, ByteSize::kib(64))
        );
        assert_eq!(quic.check(), Ok(()));
        let log: LogConfig = from_str("{level: debug, format: json}", "f.yaml").unwrap();
        assert_eq!(log.format, LogFormat::Json);
    }

    #[test]
    fn refuses_what_does_not_fit_together() {
        for (text, field) in [
            ("keep_alive: 8s", "keep_alive"),
            ("keep_alive: 0s", "keep_alive"),
            ("initial_mtu: 1199", "initial_mtu"),
            ("max_mtu: 1199", "max_mtu"),
            ("max_mtu: 65528", "max_mtu"),
            ("max_streams: 0", "max_streams"),
            ("send_window: 5GiB", "send_window"),
        ] {
            let error = from_str::<Quic>(text, "f.yaml")
                .unwrap()
                .check()
                .unwrap_err()
                .to_string();
            assert!(error.contains(field), "{text}: {error}");
        }
        let error = from_str::<Quic>("max_stream: 1", "f.yaml")
            .unwrap_err()
            .to_string();
        assert!(error.contains("max_stream"), "{error}");
    }
}
