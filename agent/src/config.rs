//! The agent's configuration: a strict file, flags and environment over it, checked into what the program uses.

mod file;
mod flags;
mod server;
mod ways;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ci_tunnel::config::net::{LogConfig, LogFormat, Quic};
use ci_tunnel::config::value::{SecretSource, parse_duration};
use ci_tunnel::config::{load, net};
use ci_tunnel::runtime::telemetry;
use ci_tunnel::transport::tls::Trust;

pub use file::{File, UpstreamFile};
pub use flags::Flags;
pub use server::{Address, DEFAULT_PORT};
pub use ways::Ways;

use crate::upstream::credentials::{self, Source};
use crate::upstream::{SocketBuffers, incluster, kubeconfig};

/// The variable that holds the agent token itself. There is no flag for it: arguments are visible to all processes.
pub const TOKEN_VARIABLE: &str = "CI_TUNNEL_TOKEN";

/// Why there is no configuration. Each message names the field and says what to write.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    File(#[from] load::Error),
    #[error("{field} is missing: {remedy}")]
    Missing {
        field: &'static str,
        remedy: &'static str,
    },
    #[error("{field}: {reason}")]
    Invalid { field: &'static str, reason: String },
    /// Flags and variables lie over the file, so the field may be theirs.
    #[error("{}, or a flag or variable over it: {error}", file.display())]
    In { file: PathBuf, error: Box<Self> },
    #[error(transparent)]
    Quic(#[from] net::Error),
    #[error(transparent)]
    Log(#[from] telemetry::Error),
    #[error(transparent)]
    Credentials(#[from] credentials::Error),
}

/// What the program uses.
#[derive(Debug, Clone)]
pub struct Config {
    pub server: Address,
    /// The name that the server's certificate must carry.
    pub server_name: String,
    pub trust: Trust,
    pub ways: Ways,
    pub token: SecretSource,
    pub upstream: Upstream,
    pub quic: Quic,
    pub log: LogConfig,
    /// `None`: no ops listener.
    pub ops: Option<SocketAddr>,
    pub drain_timeout: Duration,
    pub watchdog: Duration,
    pub threads: usize,
    pub pod: Option<String>,
}

/// The API server's part.
#[derive(Debug, Clone)]
pub struct Upstream {
    pub source: Source,
    pub response_timeout: Duration,
    pub max_idle: usize,
    pub buffers: SocketBuffers,
}

/// Reads the file that `flags` name, puts `flags` over it and checks the whole. `variable` reads the environment.
///
/// # Errors
/// The first thing that is wrong.
pub fn load(flags: &Flags, variable: impl Fn(&str) -> Option<String>) -> Result<Config, Error> {
    let mut file = match &flags.config {
        Some(path) => load::from_file(path)?,
        None => File::default(),
    };
    let checked = overlay(&mut file, flags, &variable).and_then(|()| check(file, variable));
    checked.map_err(|error| match &flags.config {
        Some(file) => Error::In {
            file: file.clone(),
            error: Box::new(error),
        },
        None => error,
    })
}

fn overlay(
    file: &mut File,
    flags: &Flags,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<(), Error> {
    put(&mut file.server, &flags.server);
    put(&mut file.server_name, &flags.server_name);
    ways::overlay(file, flags, variable)?;
    if flags.ca_file.is_some() || flags.pin.is_some() {
        // One of the two on the command line replaces either of the two in the file.
        file.ca_file.clone_from(&flags.ca_file);
        file.pin.clone_from(&flags.pin);
    }
    if let Some(path) = &flags.token_file {
        file.token = Some(SecretSource::File(path.clone()));
    } else if variable(TOKEN_VARIABLE).is_some_and(|token| !token.is_empty()) {
        file.token = Some(SecretSource::Env(TOKEN_VARIABLE.to_owned()));
    }
    put(&mut file.upstream.kubeconfig, &flags.kubeconfig);
    put(&mut file.upstream.context, &flags.context);
    put(
        &mut file.upstream.service_account_dir,
        &flags.service_account_dir,
    );
    put(&mut file.ops, &flags.ops);
    if let Some(level) = &flags.log_level {
        file.log.level.clone_from(level);
    }
    if let Some(format) = &flags.log_format {
        file.log.format = match format.as_str() {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            _ => {
                return Err(invalid(
                    "log.format",
                    format!("{format:?} is neither text nor json"),
                ));
            }
        };
    }
    if let Some(text) = &flags.drain_timeout {
        file.drain_timeout =
            parse_duration(text).map_err(|error| invalid("drain_timeout", error))?;
    }
    file.threads = flags.threads.unwrap_or(file.threads);
    Ok(())
}

fn check(file: File, variable: impl Fn(&str) -> Option<String>) -> Result<Config, Error> {
    let server = file.server.as_deref().ok_or(Error::Missing {
        field: "server",
        remedy: "write the server's host and port as the file's `server`, --server or CI_TUNNEL_SERVER",
    })?;
    let server: Address = server.parse().map_err(|error| invalid("server", error))?;
    file.quic.check()?;
    telemetry::check(&file.log)?;
    if file.threads == 0 || file.threads > 1024 {
        return Err(invalid("threads", "must be from 1 to 1024"));
    }
    if file.watchdog < Duration::from_secs(30) {
        return Err(invalid(
            "watchdog",
            "must be 30s or more: connecting itself may take that long",
        ));
    }
    Ok(Config {
        ways: ways::check(&file, &variable)?,
        trust: trust(file.ca_file, file.pin)?,
        server_name: file.server_name.unwrap_or_else(|| server.host.clone()),
        server,
        token: file.token.ok_or(Error::Missing {
            field: "token",
            remedy: "write `token: {file: PATH}`, --token-file, or set CI_TUNNEL_TOKEN; the server's `agent create` prints one",
        })?,
        upstream: upstream(file.upstream, &variable)?,
        quic: file.quic,
        log: file.log,
        ops: ops(file.ops.as_deref())?,
        drain_timeout: file.drain_timeout,
        watchdog: file.watchdog,
        threads: file.threads,
        pod: variable("POD_NAME").or_else(|| variable("HOSTNAME")).filter(|name| !name.is_empty()),
    })
}

fn trust(ca_file: Option<PathBuf>, pin: Option<String>) -> Result<Trust, Error> {
    match (ca_file, pin) {
        (Some(_), Some(_)) => Err(invalid("pin", "ca_file and pin are both given: keep one")),
        (Some(file), None) => Ok(Trust::CaFile(file)),
        (None, Some(pin)) => pin
            .parse()
            .map(Trust::Pin)
            .map_err(|error| invalid("pin", error)),
        (None, None) => Ok(Trust::System),
    }
}

fn upstream(
    file: UpstreamFile,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<Upstream, Error> {
    let source = match (file.kubeconfig, file.service_account_dir) {
        (Some(_), Some(_)) => {
            return Err(invalid(
                "upstream.kubeconfig",
                "service_account_dir is given too: keep one of the two",
            ));
        }
        (Some(path), None) => Source::Kubeconfig(kubeconfig::Selection {
            file: path,
            context: file.context,
        }),
        (None, _) if file.context.is_some() => {
            return Err(invalid(
                "upstream.context",
                "is a context of a kubeconfig: write upstream.kubeconfig too",
            ));
        }
        (None, dir) => {
            let dir = dir.unwrap_or_else(|| PathBuf::from(incluster::DEFAULT_DIR));
            Source::InCluster(incluster::ServiceAccount::find(&dir, variable)?)
        }
    };
    if file.response_timeout.is_zero() {
        return Err(invalid("upstream.response_timeout", "must be more than 0s"));
    }
    let size = |size: Option<ci_tunnel::config::value::ByteSize>| {
        size.map(|size| u32::try_from(size.as_u64()).unwrap_or(u32::MAX))
    };
    Ok(Upstream {
        source,
        response_timeout: file.response_timeout,
        max_idle: file.max_idle,
        buffers: SocketBuffers {
            send: size(file.send_buffer),
            receive: size(file.receive_buffer),
        },
    })
}

fn ops(text: Option<&str>) -> Result<Option<SocketAddr>, Error> {
    match text {
        Some("off") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            invalid(
                "ops",
                format!("{text:?} is neither an address as 127.0.0.1:8081 nor off"),
            )
        }),
        None => Ok(Some(SocketAddr::from(file::DEFAULT_OPS))),
    }
}

fn put<T: Clone>(into: &mut Option<T>, from: &Option<T>) {
    if from.is_some() {
        into.clone_from(from);
    }
}

fn invalid(field: &'static str, reason: impl ToString) -> Error {
    Error::Invalid {
        field,
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests;
