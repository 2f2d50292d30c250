//! The command line's flags, and the variables behind them.

use std::path::PathBuf;

use clap::Args;

/// Flags, and the environment behind them. What is given here wins over the file.
#[derive(Debug, Clone, Default, Args)]
pub struct Flags {
    /// The configuration file
    #[arg(short, long, env = "CI_TUNNEL_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The server to connect to
    #[arg(long, env = "CI_TUNNEL_SERVER", value_name = "HOST[:PORT]")]
    pub server: Option<String>,
    /// The certificates that may have signed the server's
    #[arg(long, env = "CI_TUNNEL_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The hash of the server's key or of its authority's, as its `agent create` prints it
    #[arg(long, env = "CI_TUNNEL_PIN", value_name = "sha256:HEX")]
    pub pin: Option<String>,
    /// The name that the server's certificate carries, if not the host's
    #[arg(long, env = "CI_TUNNEL_SERVER_NAME", value_name = "NAME")]
    pub server_name: Option<String>,
    /// auto, quic or http2
    #[arg(long, env = "CI_TUNNEL_TRANSPORT", value_name = "TRANSPORT")]
    pub transport: Option<String>,
    /// The file with the agent token (the token itself: only in the variable CI_TUNNEL_TOKEN)
    #[arg(long, env = "CI_TUNNEL_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The API server's kubeconfig; without it, the service account of the pod
    #[arg(long, env = "CI_TUNNEL_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context
    #[arg(long, env = "CI_TUNNEL_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// Where the service account is mounted
    #[arg(long, env = "CI_TUNNEL_SERVICE_ACCOUNT_DIR", value_name = "DIR")]
    pub service_account_dir: Option<PathBuf>,
    /// Where metrics and probes are served, or `off`
    #[arg(long, env = "CI_TUNNEL_OPS", value_name = "ADDRESS")]
    pub ops: Option<String>,
    /// error, warn, info, debug, trace, or a list as `info,ci_tunnel_agent=debug`
    #[arg(long, env = "CI_TUNNEL_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// text or json
    #[arg(long, env = "CI_TUNNEL_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// How long running requests have after SIGTERM
    #[arg(long, env = "CI_TUNNEL_DRAIN_TIMEOUT", value_name = "DURATION")]
    pub drain_timeout: Option<String>,
    /// Threads that carry requests
    #[arg(long, env = "CI_TUNNEL_THREADS", value_name = "N")]
    pub threads: Option<usize>,
}
