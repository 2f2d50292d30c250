//! The origin's program: a small HTTPS server.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use ci_tunnel_tests::pki::Authority;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Either};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::live::{self, Events};
use super::{CA_FILE, LISTENING, TOKEN};
use crate::payload::Payload;

type Reply = Either<Payload, Events>;

/// What is answered to everybody.
struct Answers {
    authorization: HeaderValue,
    json: HeaderValue,
    small: Bytes,
}

/// Serves until the process ends.
///
/// # Errors
/// No port can be had, or `directory` can not be written.
pub async fn serve(directory: &Path, address: Ipv4Addr) -> Result<()> {
    let authority = Authority::new("origin")?;
    let tls = authority
        .server_at(address.into())?
        .server_config(&["h2", "http/1.1"])?;
    let ca = directory.join(CA_FILE);
    std::fs::write(&ca, authority.ca_pem()).with_context(|| ca.display().to_string())?;
    let listener = TcpListener::bind(SocketAddr::from((address, 0))).await?;
    println!("{LISTENING}{}", listener.local_addr()?);
    let acceptor = TlsAcceptor::from(tls);
    let answers = Arc::new(Answers {
        authorization: HeaderValue::from_str(&format!("Bearer {TOKEN}"))?,
        json: HeaderValue::from_static("application/json"),
        small: small(),
    });
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(connection(stream, acceptor.clone(), Arc::clone(&answers)));
    }
}

/// A document of 1 KiB.
fn small() -> Bytes {
    let frame = r#"{"kind":"ConfigMap","apiVersion":"v1","data":{"text":""}}"#;
    let (before, after) = frame.split_at(frame.len() - 3);
    let text = "x".repeat(1024 - frame.len());
    Bytes::from(format!("{before}{text}{after}"))
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, answers: Arc<Answers>) {
    let _ = stream.set_nodelay(true);
    // A client that leaves is no news here: what it counts is said by the client.
    let Ok(tls) = acceptor.accept(stream).await else {
        return;
    };
    let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| {
        let answers = Arc::clone(&answers);
        async move { Ok::<_, Infallible>(answer(request, &answers).await) }
    });
    if http2 {
        let _ = http2::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(1000)
            .initial_stream_window_size(1024 * 1024)
            .initial_connection_window_size(64 * 1024 * 1024)
            .serve_connection(TokioIo::new(tls), service)
            .await;
    } else {
        let _ = http1::Builder::new()
            .serve_connection(TokioIo::new(tls), service)
            .with_upgrades()
            .await;
    }
}

async fn answer(request: Request<Incoming>, answers: &Answers) -> Response<Reply> {
    if request.headers().get(AUTHORIZATION) != Some(&answers.authorization) {
        return plain(StatusCode::UNAUTHORIZED, Payload::empty()).map(Either::Left);
    }
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/watch") => {
            let query = request.uri().query().unwrap_or_default();
            let period = query.strip_prefix("ms=").map(str::parse);
            let period = Duration::from_millis(period.and_then(Result::ok).unwrap_or_default());
            Response::new(Either::Right(Events::each(period)))
        }
        (&Method::POST, "/exec") => live::echo(request).map(Either::Left),
        _ => finite(request, answers).await.map(Either::Left),
    }
}

async fn finite(request: Request<Incoming>, answers: &Answers) -> Response<Payload> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/small") => json(answers.small.clone(), answers),
        (&Method::GET, "/version") => json(
            Bytes::from_static(br#"{"gitVersion":"v0.0.0-origin"}"#),
            answers,
        ),
        (&Method::GET, "/bytes") => {
            let query = request.uri().query().unwrap_or_default();
            match query.strip_prefix("n=").map(str::parse) {
                Some(Ok(length)) => plain(StatusCode::OK, Payload::repeated(length)),
                _ => plain(StatusCode::BAD_REQUEST, Payload::empty()),
            }
        }
        (&Method::POST, "/sink") => match swallow(request.into_body()).await {
            Some(length) => json(Bytes::from(length.to_string()), answers),
            None => plain(StatusCode::BAD_REQUEST, Payload::empty()),
        },
        _ => plain(StatusCode::NOT_FOUND, Payload::empty()),
    }
}

/// How long the body was; `None` when it broke off.
async fn swallow(mut body: Incoming) -> Option<u64> {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame.ok()?.data_ref().map_or(0, Bytes::len) as u64;
    }
    Some(length)
}

fn json(body: Bytes, answers: &Answers) -> Response<Payload> {
    let mut response = plain(StatusCode::OK, Payload::whole(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, answers.json.clone());
    response
}

fn plain(status: StatusCode, body: Payload) -> Response<Payload> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_small_document_is_json_of_1_kib() {
        let small = super::small();
        assert_eq!(small.len(), 1024);
        serde_json::from_slice::<serde_json::Value>(&small).unwrap();
    }
}
