//! The agent's one API server: a small pool of HTTP/1.1 connections, and whatever can go wrong with them, typed.
//!
//! HTTP/1.1 only: a connection carries one request at a time, so a stalled reader holds up nobody, and an upgrade
//! takes its connection with it. Redirects are never followed.

mod connect;
pub mod credentials;
pub mod endpoint;
mod error;
mod files;
pub mod incluster;
pub mod kubeconfig;
mod pool;
mod request;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use prometheus_client::metrics::counter::Counter;

pub use connect::SocketBuffers;
use credentials::{Credentials, Loaded};
pub use error::Error;
use pool::{Connection, Pool};
pub use request::Outgoing;
use request::empty;

/// The body of a request.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;
/// Why a request's body broke off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The longest answer that [`Upstream::ask`] takes.
const MAX_ANSWER: usize = 1024 * 1024;

/// Limits of the connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The most idle connections kept.
    pub max_idle: usize,
    pub buffers: SocketBuffers,
}

/// What was done; for the metrics.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    pub dials: Counter,
    pub dial_failures: Counter,
    pub reused: Counter,
    pub rejected: Counter,
}

/// A response head, with its body to come, and the connection it comes over.
#[derive(Debug)]
pub struct Answer {
    pub response: Response<Incoming>,
    pub lease: Lease,
}

/// A connection in use. Dropping it closes the connection, which is how a request is cancelled.
#[derive(Debug)]
pub struct Lease {
    connection: Connection,
    upstream: Arc<Upstream>,
}

impl Lease {
    /// Keeps the connection for the next request. Call it after the response's end.
    pub async fn release(self) {
        self.upstream.pool.give_back(self.connection).await;
    }
}

/// The API server.
#[derive(Debug)]
pub struct Upstream {
    credentials: Credentials,
    pool: Pool,
    settings: Settings,
    counters: Counters,
}

impl Upstream {
    pub fn new(credentials: Credentials, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            credentials,
            pool: Pool::new(settings.max_idle),
            settings,
            counters: Counters::default(),
        })
    }

    /// Sends a request and waits for the response head; the caller sets the deadline. Dropping the future cancels.
    pub async fn send(
        self: &Arc<Self>,
        outgoing: &Outgoing,
        body: Option<Body>,
    ) -> Result<Answer, Error> {
        let loaded = self.credentials.current().await;
        let replayable = body.is_none();
        let answer = self.send_with(&loaded, outgoing, body).await?;
        if answer.response.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        self.counters.rejected.inc();
        if Box::pin(self.credentials.rejected(&loaded)).await && replayable {
            // A 401 did nothing, and there is another credential now.
            let loaded = self.credentials.current().await;
            return Box::pin(self.send_with(&loaded, outgoing, None)).await;
        }
        Ok(answer)
    }

    /// Sends a small request of the agent's own and reads the whole answer, within `deadline`.
    pub async fn ask(
        self: &Arc<Self>,
        method: Method,
        target: &'static str,
        json: Option<Bytes>,
        deadline: Duration,
    ) -> Result<Response<Bytes>, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(
            http::header::ACCEPT,
            HeaderValue::from_static("application/json"),
        );
        if json.is_some() {
            headers.insert(
                http::header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
        }
        let outgoing = Outgoing {
            method,
            target: Bytes::from_static(target.as_bytes()),
            headers,
            upgrade: None,
        };
        let exchange = async {
            let body = json.map(|json| {
                Full::new(json)
                    .map_err(|never| match never {})
                    .boxed_unsync()
            });
            let answer = self.send(&outgoing, body).await?;
            let (parts, body) = answer.response.into_parts();
            let whole = Limited::new(body, MAX_ANSWER).collect().await;
            let whole = whole.map_err(|error| self.unreachable(&error.to_string()))?;
            answer.lease.release().await;
            Ok(Response::from_parts(parts, whole.to_bytes()))
        };
        let late = || Error::Timeout {
            endpoint: self.endpoint_text(),
            deadline,
        };
        tokio::time::timeout(deadline, exchange)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many connections wait for a request.
    pub fn idle_connections(&self) -> usize {
        self.pool.len()
    }

    /// The API server's address, for people.
    pub fn endpoint_text(&self) -> String {
        self.credentials.endpoint().to_string()
    }

    async fn send_with(
        self: &Arc<Self>,
        loaded: &Arc<Loaded>,
        outgoing: &Outgoing,
        body: Option<Body>,
    ) -> Result<Answer, Error> {
        let repeatable = body.is_none() && outgoing.repeatable();
        let authorization = self.credentials.authorization(loaded).await?;
        let make = |body| outgoing.request(loaded, authorization.as_ref(), body);
        let mut request = make(body.unwrap_or_else(empty))?;
        if let Some(mut connection) = self.pool.take(loaded.tls.as_ref()) {
            match connection.sender.try_send_request(request).await {
                Ok(response) => {
                    self.counters.reused.inc();
                    return Ok(self.answer(response, connection));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None if repeatable && lost_before_an_answer(error.error()) => {
                        request = make(empty())?
                    }
                    None => return Err(self.broken(outgoing, error.error())),
                },
            }
        }
        // In a box, since every request's task would be as large as this rare future.
        let mut connection = Box::pin(self.connect(loaded)).await?;
        let sent = connection.sender.send_request(request).await;
        sent.map(|response| self.answer(response, connection))
            .map_err(|error| self.broken(outgoing, &error))
    }

    async fn connect(&self, loaded: &Loaded) -> Result<Connection, Error> {
        self.counters.dials.inc();
        let connection = connect::connect(loaded, self.settings.buffers).await;
        connection.inspect_err(|_| {
            self.counters.dial_failures.inc();
        })
    }

    fn answer(self: &Arc<Self>, response: Response<Incoming>, connection: Connection) -> Answer {
        Answer {
            response,
            lease: Lease {
                connection,
                upstream: Arc::clone(self),
            },
        }
    }

    fn broken(&self, outgoing: &Outgoing, error: &hyper::Error) -> Error {
        let reason = with_source(error);
        if error.is_user() {
            return Error::Body(reason);
        }
        if outgoing.upgrade.is_some() && error.is_parse() {
            return Error::BadUpgrade {
                endpoint: self.endpoint_text(),
                reason,
            };
        }
        self.unreachable(&reason)
    }

    fn unreachable(&self, reason: &str) -> Error {
        Error::Unreachable {
            endpoint: self.endpoint_text(),
            reason: reason.to_owned(),
        }
    }
}

/// The pooled connection was being closed as the request was written: the API server never began to answer.
fn lost_before_an_answer(error: &hyper::Error) -> bool {
    let io = std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>());
    io || error.is_incomplete_message() || error.is_closed() || error.is_canceled()
}

fn with_source(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
