//! The shape of `agent.yaml`. Unknown keys are errors; each default stands in its field's comment.

use std::path::PathBuf;
use std::time::Duration;

use ci_tunnel::config::net::{LogConfig, Quic};
use ci_tunnel::config::value::{ByteSize, Secret, SecretSource, duration};
use serde::Deserialize;

use crate::connect::Choice;

/// The default of [`File::ops`]: probes come from the node, so a pod sets another one.
pub(super) const DEFAULT_OPS: ([u8; 4], u16) = ([127, 0, 0, 1], 8081);

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// Host and port of the server. Default port 8155.
    pub server: Option<String>,
    /// The certificates that may have signed the server's. Default: the system's.
    pub ca_file: Option<PathBuf>,
    /// Instead of `ca_file`: the hash that the server prints.
    pub pin: Option<String>,
    /// The name that the server's certificate carries. Default: the host of `server`.
    pub server_name: Option<String>,
    /// `auto`: QUIC, and HTTP/2 over TCP where that does not get through. `quic` or `http2`: that alone. Default auto.
    pub transport: Choice,
    /// With `auto`, how often QUIC is tried while HTTP/2 is in use. Default 5m.
    #[serde(with = "duration")]
    pub quic_retry: Duration,
    /// The HTTP proxy for TCP, `http://[USER:PASSWORD@]HOST[:PORT]`, or `off`. Default: HTTPS_PROXY and NO_PROXY.
    pub server_proxy: Option<Secret>,
    /// The agent token: `{file: PATH}`, `{env: NAME}` or the text.
    pub token: Option<SecretSource>,
    pub upstream: UpstreamFile,
    pub quic: Quic,
    pub log: LogConfig,
    /// Where metrics and probes are served, or `off`. Default 127.0.0.1:8081.
    pub ops: Option<String>,
    /// How long running requests have after SIGTERM. Default 30s.
    #[serde(with = "duration")]
    pub drain_timeout: Duration,
    /// No sign of life from the server for so long: a new socket; for twice as long: the process ends. Default 5m.
    #[serde(with = "duration")]
    pub watchdog: Duration,
    /// Threads that carry requests. Default 1, which is fastest up to a full core.
    pub threads: usize,
}

impl Default for File {
    fn default() -> Self {
        Self {
            server: None,
            ca_file: None,
            pin: None,
            server_name: None,
            transport: Choice::default(),
            quic_retry: Duration::from_secs(300),
            server_proxy: None,
            token: None,
            upstream: UpstreamFile::default(),
            quic: Quic::default(),
            log: LogConfig::default(),
            ops: None,
            drain_timeout: Duration::from_secs(30),
            watchdog: Duration::from_secs(300),
            threads: 1,
        }
    }
}

/// The API server.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamFile {
    /// Default: the service account of the pod.
    pub kubeconfig: Option<PathBuf>,
    /// Default: the kubeconfig's current context.
    pub context: Option<String>,
    /// Where the service account is mounted. Default /var/run/secrets/kubernetes.io/serviceaccount.
    pub service_account_dir: Option<PathBuf>,
    /// From the end of a request to its response head. Default 120s.
    #[serde(with = "duration")]
    pub response_timeout: Duration,
    /// The most idle connections kept, each for 75 s at most. Default 1024.
    pub max_idle: usize,
    /// The kernel's send buffer of a connection. Default: the kernel's judgement.
    pub send_buffer: Option<ByteSize>,
    /// The kernel's receive buffer of a connection. Default: the kernel's judgement.
    pub receive_buffer: Option<ByteSize>,
}

impl Default for UpstreamFile {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            service_account_dir: None,
            // Above the 60 s after which an API server itself ends a request with an answer.
            response_timeout: Duration::from_secs(120),
            // Fewer than run at a time would mean a new TLS handshake for each of the others.
            max_idle: 1024,
            send_buffer: None,
            receive_buffer: None,
        }
    }
}
