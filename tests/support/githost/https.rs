//! Over HTTPS: `git http-backend`, git's own CGI program, behind a password.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::{GitHost, State, git};
use crate::deadline::within;

/// Accepts for ever.
pub(super) async fn serve(
    servers: &mut JoinSet<()>,
    tls: Arc<ServerConfig>,
    state: Arc<State>,
) -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let acceptor = TlsAcceptor::from(tls);
    servers.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            if !state.is_down() {
                connections.spawn(connection(stream, acceptor.clone(), Arc::clone(&state)));
            }
        }
    });
    Ok(address)
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, state: Arc<State>) {
    let Ok(Ok(stream)) = within("TLS handshake", acceptor.accept(stream)).await else {
        return;
    };
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(answer(&state, request).await) }
    });
    // How it ended is the client's to tell.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(state: &State, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let end = path.find(".git").map_or(path.len(), |at| at + ".git".len());
    state.ask(&path[..end]).await;
    let expected = STANDARD.encode(format!("{}:{}", GitHost::USER, GitHost::PASSWORD));
    let given = request.headers().get(AUTHORIZATION);
    if given.is_none_or(|given| *given != format!("Basic {expected}")) {
        let mut response = text(StatusCode::UNAUTHORIZED, "HTTP Basic: Access denied\n");
        let realm = "Basic realm=\"git\"".parse().expect("a header's value");
        response.headers_mut().insert(WWW_AUTHENTICATE, realm);
        return response;
    }
    match backend(state, request).await {
        Ok(response) => response,
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}\n")),
    }
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text.to_owned()));
    *response.status_mut() = status;
    response
}

async fn backend(state: &State, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let mut child = git()
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &state.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("CONTENT_TYPE", header(CONTENT_TYPE.as_str()))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header(CONTENT_ENCODING.as_str()))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REMOTE_USER", GitHost::USER)
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let feed = async move {
        // It may have read all that it wants.
        let _ = stdin.write_all(&body).await;
    };
    let ((), output) = tokio::join!(feed, within("git http-backend", child.wait_with_output()));
    response(&output??.stdout)
}

/// The CGI program's answer as HTTP.
fn response(output: &[u8]) -> Result<Response<Full<Bytes>>> {
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .context("no head")?;
    let (head, body) = (std::str::from_utf8(&output[..end])?, &output[end + 4..]);
    let mut response = Response::builder();
    for line in head.lines() {
        let (name, value) = line.split_once(": ").context("no header")?;
        response = if name == "Status" {
            response.status(value.split(' ').next().unwrap_or_default())
        } else {
            response.header(name, value)
        };
    }
    Ok(response.body(Full::from(body.to_vec()))?)
}
