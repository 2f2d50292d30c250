//! The client that all ways are measured with: requests that cost it little.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use ci_tunnel_tests::pki;
use http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue, UPGRADE};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::origin::live::PROTOCOL;
use crate::payload::Payload;
use crate::usage::Pid;

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http {
    One,
    Two,
}

/// A way to the origin, and the processes on it.
#[derive(Debug)]
pub struct Target {
    pub name: &'static str,
    pub origin: Pid,
    /// Those between client and origin.
    pub processes: Vec<(&'static str, Pid)>,
    dial: Dial,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    host: HeaderValue,
    authorization: HeaderValue,
}

/// How a connection to a target begins.
#[derive(Debug, Clone)]
pub enum Dial {
    Straight(SocketAddr),
    /// Through a proxy that is spoken to over TLS and asked to CONNECT.
    Connect {
        proxy: SocketAddr,
        tls: Arc<ClientConfig>,
        to: SocketAddr,
    },
}

/// One connection, or one more user of it.
#[derive(Debug)]
pub enum Connection {
    One(http1::SendRequest<Payload>),
    Two(http2::SendRequest<Payload>),
}

/// What is asked for, made once for many requests.
#[derive(Debug, Clone)]
pub struct Ask {
    method: Method,
    uri: Uri,
}

impl Target {
    pub fn new(
        name: &'static str,
        dial: Dial,
        ca_pem: &str,
        token: &str,
        origin: Pid,
    ) -> Result<Self> {
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}"))?;
        authorization.set_sensitive(true);
        Ok(Self {
            name,
            origin,
            processes: Vec::new(),
            http1: tls(ca_pem, "http/1.1")?,
            http2: tls(ca_pem, "h2")?,
            host: HeaderValue::from_str(&dial.end().to_string())?,
            dial,
            authorization,
        })
    }

    #[must_use]
    pub fn with_processes(mut self, processes: Vec<(&'static str, Pid)>) -> Self {
        self.processes = processes;
        self
    }

    pub async fn connect(&self, http: Http) -> Result<Connection> {
        match &self.dial {
            Dial::Straight(address) => self.speak(tcp(*address).await?, http).await,
            Dial::Connect { proxy, tls, to } => {
                let name = ServerName::IpAddress(proxy.ip().into());
                let stream = TlsConnector::from(Arc::clone(tls))
                    .connect(name, tcp(*proxy).await?)
                    .await
                    .with_context(|| format!("TLS with the proxy of {}", self.name))?;
                self.speak(ask_to_connect(stream, *to).await?, http).await
            }
        }
    }

    /// TLS and HTTP over what leads there.
    async fn speak<S>(&self, stream: S, http: Http) -> Result<Connection>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let tls = match http {
            Http::One => &self.http1,
            Http::Two => &self.http2,
        };
        let name = ServerName::IpAddress(self.dial.end().ip().into());
        let stream = TlsConnector::from(Arc::clone(tls))
            .connect(name, stream)
            .await
            .with_context(|| format!("TLS with {}", self.name))?;
        let io = TokioIo::new(stream);
        // The tasks end with their connections: when the senders are dropped.
        Ok(match http {
            Http::One => {
                let (sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection.with_upgrades());
                Connection::One(sender)
            }
            Http::Two => {
                let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                    .initial_stream_window_size(1024 * 1024)
                    .initial_connection_window_size(64 * 1024 * 1024)
                    .handshake(io)
                    .await?;
                tokio::spawn(connection);
                Connection::Two(sender)
            }
        })
    }

    pub fn ask(&self, http: Http, method: Method, path_and_query: &str) -> Result<Ask> {
        let uri = match http {
            Http::One => path_and_query.parse()?,
            Http::Two => format!("https://{}{path_and_query}", self.dial.end()).parse()?,
        };
        Ok(Ask { method, uri })
    }

    fn request(&self, ask: &Ask, http: Http, body: Payload) -> Request<Payload> {
        let mut request = Request::new(body);
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = ask.uri.clone();
        if http == Http::One {
            request.headers_mut().insert(HOST, self.host.clone());
        }
        request
            .headers_mut()
            .insert(AUTHORIZATION, self.authorization.clone());
        request
    }
}

impl Dial {
    /// Whose certificate is seen there, and what requests name as their host.
    const fn end(&self) -> SocketAddr {
        match self {
            Self::Straight(end) | Self::Connect { to: end, .. } => *end,
        }
    }
}

/// Without resumption: each kubectl is a new process, which remembers no session.
fn tls(ca_pem: &str, alpn: &str) -> Result<Arc<ClientConfig>> {
    let mut config = ClientConfig::clone(&*pki::client_config(ca_pem, &[alpn])?);
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

async fn tcp(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn ask_to_connect<S>(mut stream: S, to: SocketAddr) -> Result<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < 4096, "the proxy's answer has no end");
        // One at a time: what follows is not the proxy's.
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    ensure!(
        head.split(' ').nth(1) == Some("200"),
        "the proxy answers {}",
        head.lines().next().unwrap_or_default()
    );
    Ok(stream)
}

impl Connection {
    /// Another user of the same connection.
    pub fn share(&self) -> Option<Self> {
        match self {
            Self::One(_) => None,
            Self::Two(sender) => Some(Self::Two(sender.clone())),
        }
    }

    /// Sends a request and waits for the head of its answer, which must be 200.
    pub async fn send(
        &mut self,
        target: &Target,
        ask: &Ask,
        body: Payload,
    ) -> Result<Response<Incoming>> {
        let request = target.request(ask, self.http(), body);
        let response = self.answer(request).await?;
        let status = response.status();
        ensure!(
            status == StatusCode::OK,
            "{} answers {status} to {}",
            target.name,
            ask.uri
        );
        Ok(response)
    }

    /// Asks for an upgrade, which must be granted; then the connection is one for bytes.
    pub async fn upgrade(mut self, target: &Target, ask: &Ask) -> Result<Upgraded> {
        let mut request = target.request(ask, self.http(), Payload::empty());
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, PROTOCOL);
        let response = self.answer(request).await?;
        let status = response.status();
        ensure!(
            status == StatusCode::SWITCHING_PROTOCOLS,
            "{} answers {status} to an upgrade",
            target.name
        );
        Ok(hyper::upgrade::on(response).await?)
    }

    async fn answer(&mut self, request: Request<Payload>) -> Result<Response<Incoming>> {
        Ok(match self {
            Self::One(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::Two(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        })
    }

    const fn http(&self) -> Http {
        match self {
            Self::One(_) => Http::One,
            Self::Two(_) => Http::Two,
        }
    }

    /// As [`Self::send`], and reads the answer to its end. Says how long it was.
    pub async fn exchange(&mut self, target: &Target, ask: &Ask, body: Payload) -> Result<u64> {
        let mut body = self.send(target, ask, body).await?.into_body();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame?.data_ref().map_or(0, Bytes::len) as u64;
        }
        Ok(length)
    }
}
