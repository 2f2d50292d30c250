//! Asking a CI system over HTTPS: every answer has a deadline and a bound, and nothing is followed elsewhere.

use std::error::Error as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use ci_tunnel::config::value::Secret;
use ci_tunnel::transport::tls;
use http::header::{DATE, HeaderMap, HeaderName, HeaderValue};
use serde::de::DeserializeOwned;

/// Asks one CI system.
#[derive(Debug, Clone)]
pub(super) struct Client {
    client: reqwest::Client,
}

/// An answer that was good.
#[derive(Debug)]
pub(super) struct Answer<T> {
    pub(super) value: T,
    /// What the CI system's clock says, when it tells.
    pub(super) date: Option<SystemTime>,
}

/// Why there is no client. The messages name the file.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("the HTTP client: {0}")]
    Client(String),
    #[error("proxy {0:?}: it must be `http://host:port` or `https://host:port`")]
    Proxy(String),
    #[error("ca_file: {0}")]
    Tls(#[from] tls::Error),
}

/// Why there is no answer that can be used. Names the address, never a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{url}: the credential can not be a header")]
    Credential { url: String },
    /// Nothing, or not all, of an answer came.
    #[error("{url}: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("{url}: answered {status}")]
    Status {
        url: String,
        status: u16,
        /// It came with a CI system's own words, and not with a page of whatever stands before it.
        own_words: bool,
    },
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
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

impl Client {
    /// Trusts the system's authorities and those of `ca_file`; goes through `proxy`, or as the environment says.
    pub(super) fn new(ca_file: Option<&Path>, proxy: Option<&str>) -> Result<Self, BuildError> {
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::web_client_config(ca_file, &ALPN)?)
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .user_agent(concat!("ci-tunnel-server/", env!("CARGO_PKG_VERSION")));
        if let Some(proxy) = proxy {
            let unusable = |_| BuildError::Proxy(proxy.to_owned());
            builder = builder.proxy(reqwest::Proxy::all(proxy).map_err(unusable)?);
        }
        let client = builder
            .build()
            .map_err(|error| BuildError::Client(reason(&error)))?;
        Ok(Self { client })
    }

    /// What `url` answers to a GET with `credential`, read as JSON.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        url: &str,
        credential: Option<(HeaderName, &Secret)>,
    ) -> Result<Answer<T>, Error> {
        let mut request = self.client.get(url);
        if let Some((name, secret)) = credential {
            let mut value = HeaderValue::from_str(secret.expose()).map_err(|_| {
                let url = url.to_owned();
                Error::Credential { url }
            })?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        let unreachable = |error| unreachable(url, &error);
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if !status.is_success() {
            let body = whole(url, response).await;
            return Err(Error::Status {
                url: url.to_owned(),
                status: status.as_u16(),
                own_words: body.is_ok_and(|body| is_own(&body)),
            });
        }
        let date = date(response.headers());
        let answer = whole(url, response).await?;
        let value = serde_json::from_slice(&answer).map_err(|error| Error::Malformed {
            url: url.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Answer { value, date })
    }
}

/// GitLab's errors are objects with one of these members.
fn is_own(body: &[u8]) -> bool {
    let object = serde_json::from_slice::<serde_json::Map<_, _>>(body);
    object.is_ok_and(|object| object.contains_key("message") || object.contains_key("error"))
}

async fn whole(url: &str, mut response: reqwest::Response) -> Result<Vec<u8>, Error> {
    let mut answer = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| unreachable(url, &error))?
    {
        if answer.len() + chunk.len() > MAX_ANSWER {
            return Err(Error::TooLong {
                url: url.to_owned(),
            });
        }
        answer.extend_from_slice(&chunk);
    }
    Ok(answer)
}

/// `Date`, as every HTTP server writes it today: `Tue, 15 Nov 1994 08:12:31 GMT`.
fn date(headers: &HeaderMap) -> Option<SystemTime> {
    let text = headers.get(DATE)?.to_str().ok()?;
    let time = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(time.timestamp().into())
}

fn unreachable(url: &str, error: &reqwest::Error) -> Error {
    Error::Unreachable {
        url: url.to_owned(),
        reason: reason(error),
    }
}

/// The error and what it comes from, without the address that it repeats.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
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
        reason = error.to_string();
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_the_other_side_is_read() {
        let mut headers = HeaderMap::new();
        assert_eq!(date(&headers), None);
        headers.insert(
            DATE,
            HeaderValue::from_static("Tue, 15 Nov 1994 08:12:31 GMT"),
        );
        let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(784_887_151);
        assert_eq!(date(&headers), Some(expected));
        headers.insert(DATE, HeaderValue::from_static("yesterday"));
        assert_eq!(date(&headers), None);
    }

    #[test]
    fn own_words_are_told_from_pages() {
        assert!(is_own(br#"{"message":"403 Forbidden"}"#));
        assert!(is_own(br#"{"error":"insufficient_scope"}"#));
        for other in ["", "<html>blocked</html>", "{}", "[]", "\"message\""] {
            assert!(!is_own(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn wrong_files_and_proxies_are_named() {
        let missing = Client::new(Some(Path::new("/nowhere/ca.pem")), None).unwrap_err();
        assert!(missing.to_string().contains("/nowhere/ca.pem"), "{missing}");
    }
}
