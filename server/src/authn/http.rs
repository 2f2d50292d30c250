//! Asking a CI system over HTTPS: every answer has a deadline and a bound, and nothing is followed elsewhere.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ci_tunnel::config::value::Secret;
use http::header::{HeaderName, HeaderValue};
use serde::de::DeserializeOwned;

/// Asks one CI system.
#[derive(Debug, Clone)]
pub(super) struct Client {
    client: reqwest::Client,
}

/// Why there is no answer that can be used. Names the address, never a credential.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{}: {source}", file.display())]
    CaFile {
        file: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: holds no certificate in PEM form", .0.display())]
    NoCa(PathBuf),
    #[error("the HTTP client: {0}")]
    Build(String),
    /// Nothing, or not all, of an answer came.
    #[error("{url}: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("{url}: answered {status}")]
    Status { url: String, status: u16 },
    #[error("{url}: answered more than {MAX_ANSWER} bytes")]
    TooLong { url: String },
    #[error("{url}: answered something else than is expected: {reason}")]
    Malformed { url: String, reason: String },
}

/// The longest answer that is read, in bytes. A key set of a hundred keys is a tenth of it.
const MAX_ANSWER: usize = 1 << 20;
const CONNECT: Duration = Duration::from_secs(5);
/// For a whole answer.
const ANSWER: Duration = Duration::from_secs(10);

impl Client {
    pub(super) fn new(ca_file: Option<&Path>, proxy: Option<&str>) -> Result<Self, Error> {
        let build = |error: reqwest::Error| Error::Build(reason(&error));
        let mut builder = reqwest::Client::builder()
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .user_agent(concat!("ci-tunnel-server/", env!("CARGO_PKG_VERSION")));
        if let Some(file) = ca_file {
            builder = builder.tls_certs_merge(certificates(file)?);
        }
        if let Some(proxy) = proxy {
            builder = builder.proxy(reqwest::Proxy::all(proxy).map_err(build)?);
        }
        Ok(Self {
            client: builder.build().map_err(build)?,
        })
    }

    /// What `url` answers to a GET with `credential`, read as JSON.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        url: &str,
        credential: Option<(HeaderName, &Secret)>,
    ) -> Result<T, Error> {
        let mut request = self.client.get(url);
        if let Some((name, secret)) = credential {
            let mut value =
                HeaderValue::from_str(secret.expose()).map_err(|_| Error::Malformed {
                    url: url.to_owned(),
                    reason: "the credential can not be a header".to_owned(),
                })?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        let unreachable = |error: reqwest::Error| Error::Unreachable {
            url: url.to_owned(),
            reason: reason(&error),
        };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if !status.is_success() {
            return Err(Error::Status {
                url: url.to_owned(),
                status: status.as_u16(),
            });
        }
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if answer.len() + chunk.len() > MAX_ANSWER {
                return Err(Error::TooLong {
                    url: url.to_owned(),
                });
            }
            answer.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&answer).map_err(|error| Error::Malformed {
            url: url.to_owned(),
            reason: error.to_string(),
        })
    }
}

fn certificates(file: &Path) -> Result<Vec<reqwest::Certificate>, Error> {
    let pem = std::fs::read(file).map_err(|source| Error::CaFile {
        file: file.to_owned(),
        source,
    })?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(Error::NoCa(file.to_owned())),
    }
}

/// The error and what it comes from, without the address that it repeats.
fn reason(error: &reqwest::Error) -> String {
    let mut source = error.source();
    let mut reason = String::new();
    while let Some(cause) = source {
        if !reason.is_empty() {
            reason.push_str(": ");
        }
        reason.push_str(&cause.to_string());
        source = cause.source();
    }
    if reason.is_empty() {
        reason = if error.is_timeout() {
            "no answer in time".to_owned()
        } else {
            error.to_string()
        };
    }
    reason
}
