//! HTTP proxies between the agent and the server: which one, and CONNECT through it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ci_tunnel::transport::tcp;
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error;
use super::server::{authority, resolve};

/// For each of: the TCP connection to the proxy, its answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest answer that is read.
const MAX_HEAD: usize = 8 * 1024;
const DEFAULT_PORT: u16 = 80;

/// Why a proxy is of no use. Nothing here holds credentials.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("it is not of the form http://[USER:PASSWORD@]HOST[:PORT]")]
    Url,
    #[error(
        "the variables HTTPS_PROXY, NO_PROXY name a proxy that is not of the form http://[USER:PASSWORD@]HOST[:PORT]"
    )]
    Environment,
    #[error("the proxy {proxy} did not connect to {target} in {} s", DEADLINE.as_secs())]
    Late { proxy: String, target: String },
    #[error("the proxy {proxy} broke off: {source}")]
    Broken {
        proxy: String,
        source: std::io::Error,
    },
    #[error(
        "the proxy {proxy} does not take {} (407): write them as http://USER:PASSWORD@{proxy} in server_proxy or HTTPS_PROXY",
        if *.given { "these credentials" } else { "connections without credentials" }
    )]
    Credentials { proxy: String, given: bool },
    #[error("the proxy {proxy} does not connect to {target}: it says {status:?}")]
    Refused {
        proxy: String,
        target: String,
        status: String,
    },
}

/// Which proxy to take to which host.
#[derive(Clone)]
pub struct Proxies(Arc<Rules>);

struct Rules {
    matcher: Matcher,
    /// Some variable names a proxy.
    given: bool,
}

/// One proxy.
pub(super) struct Proxy {
    host: String,
    port: u16,
    authorization: Option<HeaderValue>,
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxies(…)")
    }
}

impl Proxies {
    /// Every connection goes straight to its host.
    pub fn none() -> Self {
        Self::new(Matcher::builder().build(), false)
    }

    /// The proxy of this URL for every host.
    ///
    /// # Errors
    /// It is no URL of an HTTP proxy.
    pub fn fixed(url: &str) -> Result<Self, Error> {
        let proxies = Self::new(Matcher::builder().https(url.to_owned()).build(), true);
        let example = Uri::from_static("https://example.com");
        match proxies.matching(&example) {
            Ok(Some(_)) => Ok(proxies),
            _ => Err(Error::Url),
        }
    }

    /// As `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say, in capital or small letters.
    pub fn environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let read = |name: &str| {
            let value = variable(name).or_else(|| variable(&name.to_ascii_lowercase()));
            value.unwrap_or_default()
        };
        let (https, all) = (read("HTTPS_PROXY"), read("ALL_PROXY"));
        let given = !https.is_empty() || !all.is_empty();
        let builder = Matcher::builder().https(https).all(all);
        Self::new(builder.no(read("NO_PROXY")).build(), given)
    }

    fn new(matcher: Matcher, given: bool) -> Self {
        Self(Arc::new(Rules { matcher, given }))
    }

    /// The proxy to take to `host`; `None`: none.
    pub(super) fn choose(&self, host: &str, port: u16) -> Result<Option<Proxy>, Error> {
        let target = format!("https://{}", authority(host, port));
        let target: Uri = target.parse().map_err(|_| Error::Environment)?;
        self.matching(&target)
    }

    fn matching(&self, target: &Uri) -> Result<Option<Proxy>, Error> {
        if !self.0.given {
            return Ok(None);
        }
        let Some(found) = self.0.matcher.intercept(target) else {
            return Ok(None);
        };
        let uri = found.uri();
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        if uri.scheme_str() != Some("http") || host.is_empty() {
            return Err(Error::Environment);
        }
        Ok(Some(Proxy {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(DEFAULT_PORT),
            authorization: found.basic_auth().cloned(),
        }))
    }
}

impl Proxy {
    /// A TCP connection to `target` (`host:port`), which the proxy resolves itself.
    pub(super) async fn connect(&self, target: &str) -> Result<TcpStream, error::Error> {
        let late = || Error::Late {
            proxy: self.name(),
            target: target.to_owned(),
        };
        let addresses = resolve(&self.host, self.port).await?;
        let stream = timeout(DEADLINE, tcp::connect(&addresses)).await;
        let mut stream = stream.map_err(|_| late())??;
        let answer = timeout(DEADLINE, self.ask(&mut stream, target)).await;
        let status = answer
            .map_err(|_| late())?
            .map_err(|source| Error::Broken {
                proxy: self.name(),
                source,
            })?;
        match status.split(' ').nth(1) {
            Some("200") => Ok(stream),
            Some("407") => Err(Error::Credentials {
                proxy: self.name(),
                given: self.authorization.is_some(),
            }
            .into()),
            _ => Err(Error::Refused {
                proxy: self.name(),
                target: target.to_owned(),
                status,
            }
            .into()),
        }
    }

    /// Sends CONNECT; the first line of the answer.
    async fn ask(&self, stream: &mut TcpStream, target: &str) -> std::io::Result<String> {
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
        if let Some(authorization) = &self.authorization {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(authorization.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        stream.write_all(&request).await?;
        // Nothing of the server's is behind the head: in TLS the agent speaks first.
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            if head.len() > MAX_HEAD || stream.read_buf(&mut head).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line: String = String::from_utf8_lossy(line).chars().take(200).collect();
        Ok(line)
    }

    fn name(&self) -> String {
        authority(&self.host, self.port)
    }
}

#[cfg(test)]
mod tests;
