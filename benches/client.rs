//! The client that both ways are measured with: connections that are kept, requests that cost it little.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use ci_tunnel_tests::pki;
use http::header::{AUTHORIZATION, HOST, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::payload::Payload;

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http {
    One,
    Two,
}

/// A server to measure: the origin, or the tunnel's front before it.
#[derive(Debug)]
pub struct Target {
    pub name: &'static str,
    addr: SocketAddr,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    host: HeaderValue,
    authorization: HeaderValue,
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
    pub fn new(name: &'static str, addr: SocketAddr, ca_pem: &str, token: &str) -> Result<Self> {
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}"))?;
        authorization.set_sensitive(true);
        Ok(Self {
            name,
            addr,
            http1: pki::client_config(ca_pem, &["http/1.1"])?,
            http2: pki::client_config(ca_pem, &["h2"])?,
            host: HeaderValue::from_str(&addr.to_string())?,
            authorization,
        })
    }

    pub async fn connect(&self, http: Http) -> Result<Connection> {
        let stream = TcpStream::connect(self.addr).await?;
        stream.set_nodelay(true)?;
        let tls = match http {
            Http::One => &self.http1,
            Http::Two => &self.http2,
        };
        let name = ServerName::IpAddress(self.addr.ip().into());
        let stream = TlsConnector::from(Arc::clone(tls))
            .connect(name, stream)
            .await
            .with_context(|| format!("TLS with {}", self.name))?;
        let io = TokioIo::new(stream);
        // The tasks end with their connections: when the senders are dropped.
        Ok(match http {
            Http::One => {
                let (sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection);
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
            Http::Two => format!("https://{}{path_and_query}", self.addr).parse()?,
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
        let response = match self {
            Self::One(sender) => {
                sender.ready().await?;
                sender
                    .send_request(target.request(ask, Http::One, body))
                    .await?
            }
            Self::Two(sender) => {
                sender.ready().await?;
                sender
                    .send_request(target.request(ask, Http::Two, body))
                    .await?
            }
        };
        let status = response.status();
        ensure!(
            status == StatusCode::OK,
            "{} answers {status} to {}",
            target.name,
            ask.uri
        );
        Ok(response)
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
