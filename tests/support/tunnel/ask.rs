//! `GET` over plain HTTP, for the operator's ports.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use http::Request;
use http::header::HOST;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::deadline::within;

/// The body of a 200.
pub(super) async fn get(addr: SocketAddr, path: &str) -> Result<String> {
    let what = format!("http://{addr}{path}");
    within(&what, ask(addr, path)).await?.context(what)
}

async fn ask(addr: SocketAddr, path: &str) -> Result<String> {
    let stream = TcpStream::connect(addr).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut task = JoinSet::new();
    task.spawn(connection);
    let request = Request::get(path).header(HOST, addr.to_string());
    let response = sender
        .send_request(request.body(Empty::<Bytes>::new())?)
        .await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    let body = String::from_utf8(body.to_vec())?;
    ensure!(status.is_success(), "{status}: {body}");
    Ok(body)
}
