//! A client that speaks HTTP as it should, over connections of its own or from a pool.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, HOST, UPGRADE};
use http::{Method, Request, Response, StatusCode, request};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::body::{Boxed, empty};
use crate::deadline::{DEADLINE, within, within_time};
use crate::pki;

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http {
    One,
    Two,
}

/// A client of one server, with one bearer token.
#[derive(Debug, Clone)]
pub struct Client {
    origin: Arc<Origin>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

#[derive(Debug)]
struct Origin {
    addr: SocketAddr,
    tls: Arc<ClientConfig>,
    http: Http,
    token: String,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    origin: Arc<Origin>,
    sender: Sender,
    tasks: Tasks,
}

/// What drives a connection: hyper's own tasks too, so that it can be cut whatever still holds a part of it.
#[derive(Debug, Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

#[derive(Debug)]
enum Sender {
    One(http1::SendRequest<Boxed>),
    Two(http2::SendRequest<Boxed>),
}

/// The answer to an upgrade.
#[derive(Debug)]
pub enum Switched {
    /// Both directions carry raw bytes now.
    Yes(Response<()>, TokioIo<Upgraded>),
    No(Response<Bytes>),
}

impl Client {
    pub fn new(addr: SocketAddr, ca_pem: &str, http: Http, token: &str) -> Result<Self> {
        let alpn = match http {
            Http::One => "http/1.1",
            Http::Two => "h2",
        };
        let tls = pki::client_config(ca_pem, &[alpn])?;
        let origin = Arc::new(Origin {
            addr,
            tls,
            http,
            token: token.to_owned(),
        });
        Ok(Self {
            origin,
            idle: Arc::default(),
        })
    }

    /// A new connection that belongs to the caller; it is cut when dropped.
    pub async fn connect(&self) -> Result<Connection> {
        within("a connection", Box::pin(self.origin.connect())).await?
    }

    /// A request with the token and what this version of HTTP wants.
    pub fn request(&self, method: Method, target: &str) -> request::Builder {
        self.origin.request(method, target)
    }

    /// Sends over a pooled connection; waits for the head of the answer, which may come before the body is sent.
    pub async fn send(&self, request: Request<Boxed>) -> Result<Response<Incoming>> {
        let mut connection = match self.take_idle() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let response = connection.send(request).await?;
        self.idle.lock().unwrap().push(connection);
        Ok(response)
    }

    pub async fn get(&self, target: &str) -> Result<Response<Bytes>> {
        whole(
            self.send(self.request(Method::GET, target).body(empty())?)
                .await?,
        )
        .await
    }

    pub async fn post(&self, target: &str, body: Boxed) -> Result<Response<Bytes>> {
        whole(
            self.send(self.request(Method::POST, target).body(body)?)
                .await?,
        )
        .await
    }

    /// Asks to switch to `protocol` over a connection of its own.
    pub async fn upgrade(&self, target: &str, protocol: &str) -> Result<Switched> {
        self.connect().await?.upgrade(target, protocol).await
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap();
        idle.retain(|connection| !connection.is_closed());
        let ready = idle.iter().position(Connection::is_ready)?;
        Some(idle.swap_remove(ready))
    }
}

impl Origin {
    async fn connect(self: &Arc<Self>) -> Result<Connection> {
        let stream = TcpStream::connect(self.addr)
            .await
            .with_context(|| format!("connecting to {}", self.addr))?;
        stream.set_nodelay(true)?;
        let name = ServerName::IpAddress(self.addr.ip().into());
        let stream = TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, stream)
            .await
            .context("TLS handshake")?;
        let io = TokioIo::new(stream);
        let tasks = Tasks::default();
        let sender = match self.http {
            Http::One => {
                let (sender, connection) = http1::handshake(io).await?;
                tasks.execute(async move { drop(connection.with_upgrades().await) });
                Sender::One(sender)
            }
            Http::Two => {
                let (sender, connection) = http2::handshake(tasks.clone(), io).await?;
                tasks.execute(async move { drop(connection.await) });
                Sender::Two(sender)
            }
        };
        Ok(Connection {
            origin: Arc::clone(self),
            sender,
            tasks,
        })
    }

    fn request(&self, method: Method, target: &str) -> request::Builder {
        let builder = Request::builder()
            .method(method)
            .header(AUTHORIZATION, format!("Bearer {}", self.token));
        match self.http {
            Http::One => builder.uri(target).header(HOST, self.addr.to_string()),
            Http::Two => builder.uri(format!("https://{}{target}", self.addr)),
        }
    }
}

impl Connection {
    pub fn request(&self, method: Method, target: &str) -> request::Builder {
        self.origin.request(method, target)
    }

    /// Waits for the head of the answer, which may come before the body is sent.
    pub async fn send(&mut self, request: Request<Boxed>) -> Result<Response<Incoming>> {
        self.send_within(DEADLINE, request).await
    }

    /// The same for an answer that may take this long.
    pub async fn send_within(
        &mut self,
        limit: Duration,
        request: Request<Boxed>,
    ) -> Result<Response<Incoming>> {
        let what = format!("an answer to {} {}", request.method(), request.uri());
        let answer = async {
            match &mut self.sender {
                Sender::One(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
                Sender::Two(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
            }
        };
        within_time(limit, &what, answer).await?.context(what)
    }

    pub async fn get(&mut self, target: &str) -> Result<Response<Bytes>> {
        let request = self.request(Method::GET, target).body(empty())?;
        self.whole(request).await
    }

    /// Sends, and waits for all of the answer.
    pub async fn whole(&mut self, request: Request<Boxed>) -> Result<Response<Bytes>> {
        whole(self.send(request).await?).await
    }

    pub async fn upgrade(mut self, target: &str, protocol: &str) -> Result<Switched> {
        let request = self
            .request(Method::GET, target)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, protocol);
        let response = self.send(request.body(empty())?).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Switched::No(whole(response).await?));
        }
        let (head, _) = response.into_parts();
        let mut response = Response::from_parts(head, ());
        let upgraded = within("the switch", hyper::upgrade::on(&mut response)).await??;
        Ok(Switched::Yes(response, TokioIo::new(upgraded)))
    }

    /// Cuts the connection, whatever runs on it.
    pub async fn cut(self) {
        let mut tasks = std::mem::take(&mut *self.tasks.0.lock().unwrap());
        tasks.shutdown().await;
    }

    pub fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::One(sender) => sender.is_closed(),
            Sender::Two(sender) => sender.is_closed(),
        }
    }

    fn is_ready(&self) -> bool {
        match &self.sender {
            Sender::One(sender) => sender.is_ready(),
            Sender::Two(sender) => sender.is_ready(),
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, future: F) {
        self.0.lock().unwrap().spawn(future);
    }
}

impl Switched {
    /// The raw connection; an error when the server did not switch.
    pub fn io(self) -> Result<TokioIo<Upgraded>> {
        match self {
            Self::Yes(_, io) => Ok(io),
            Self::No(response) => bail!("no switch: {} {:?}", response.status(), response.body()),
        }
    }
}

/// The answer with all of its body.
pub async fn whole(response: Response<Incoming>) -> Result<Response<Bytes>> {
    let (head, body) = response.into_parts();
    let body = within("the rest of the answer", body.collect())
        .await?
        .context("reading the answer")?;
    Ok(Response::from_parts(head, body.to_bytes()))
}
