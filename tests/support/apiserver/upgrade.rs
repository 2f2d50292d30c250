//! Right and wrong answers to a request that wants to switch protocols.

use std::io;

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::body;
use super::recorder::Entry;
use super::reply::{self, Reply};
use super::routes::Call;

/// `/upgrade/echo`: switches, then sends back what comes, each direction closed by itself. `/upgrade/wrong-protocol`: switches to
/// another protocol than asked for, and records what arrives then. `/upgrade/bye`: says `bye`, closes its direction, and records what
/// arrives all the same. `/upgrade/<status>`: does not switch.
pub(super) async fn answer(mut call: Call, kind: &str) -> Reply {
    if let Ok(status) = StatusCode::from_bytes(kind.as_bytes()) {
        return not_switching(call, status).await;
    }
    let (Some(asked), Some(upgrade)) =
        (call.head.headers.get(UPGRADE).cloned(), call.upgrade.take())
    else {
        return reply::refusal(
            StatusCode::BAD_REQUEST,
            "BadRequest",
            "this path wants an upgrade",
        );
    };
    match kind {
        "echo" => {
            tokio::spawn(echo(upgrade, call.entry));
            switching(asked)
        }
        "bye" => {
            tokio::spawn(bye(upgrade, call.entry));
            switching(asked)
        }
        "break" => {
            tokio::spawn(break_off(upgrade));
            switching(asked)
        }
        "wrong-protocol" => {
            tokio::spawn(swallow(upgrade, call.entry));
            switching(HeaderValue::from_static("another/1"))
        }
        _ => reply::not_found("this kind of upgrade"),
    }
}

pub(super) fn switching(protocol: HeaderValue) -> Reply {
    let mut reply = Response::new(body::empty());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    reply
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    reply.headers_mut().insert(UPGRADE, protocol);
    reply
}

async fn not_switching(call: Call, status: StatusCode) -> Reply {
    call.body.read().await;
    let mut reply = reply::json(
        status,
        &json!({"kind": "Status", "apiVersion": "v1", "code": status.as_u16()}),
    );
    if status.is_redirection() {
        reply.headers_mut().insert(
            "location",
            HeaderValue::from_static("https://127.0.0.1:1/elsewhere"),
        );
    }
    reply
}

async fn echo(upgrade: OnUpgrade, entry: Entry) -> io::Result<()> {
    let mut io = TokioIo::new(upgrade.await.map_err(io::Error::other)?);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let len = io.read(&mut buffer).await?;
        if len == 0 {
            return io.shutdown().await;
        }
        remember(&entry, &buffer[..len]);
        io.write_all(&buffer[..len]).await?;
        io.flush().await?;
    }
}

async fn bye(upgrade: OnUpgrade, entry: Entry) -> io::Result<()> {
    let mut io = TokioIo::new(upgrade.await.map_err(io::Error::other)?);
    io.write_all(b"bye").await?;
    io.shutdown().await?;
    let mut buffer = vec![0; 4 * 1024];
    loop {
        let len = io.read(&mut buffer).await?;
        if len == 0 {
            return Ok(());
        }
        remember(&entry, &buffer[..len]);
    }
}

async fn break_off(upgrade: OnUpgrade) -> io::Result<()> {
    let mut io = TokioIo::new(upgrade.await.map_err(io::Error::other)?);
    io.read_u8().await.map(drop)
}

async fn swallow(upgrade: OnUpgrade, entry: Entry) -> io::Result<()> {
    let mut io = TokioIo::new(upgrade.await.map_err(io::Error::other)?);
    let mut buffer = vec![0; 4 * 1024];
    loop {
        let len = io.read(&mut buffer).await?;
        if len == 0 {
            return io.shutdown().await;
        }
        remember(&entry, &buffer[..len]);
    }
}

fn remember(entry: &Entry, bytes: &[u8]) {
    entry.update(|request| {
        let room = UPGRADED_BYTES - request.upgraded.len();
        request
            .upgraded
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    });
}

const UPGRADED_BYTES: usize = 64 * 1024;
