//! Pods that pretend: their logs, and the door to running commands in them.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{
    HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::body::{Feed, Piece};
use super::exec::Process;
use super::reply::{self, Reply};
use super::routes::Call;
use super::store::Store;
use super::{State, exec, upgrade};

/// `kubectl logs`, with `-f`.
pub(super) fn log(call: &Call, namespace: &str, name: &str) -> Reply {
    if call.state.store.get("pods", namespace, name).is_none() {
        return reply::not_found(&format!("pods {name:?}"));
    }
    if !call.flag("follow") {
        let (lines, _) = call.state.store.log(namespace, name);
        return reply::text(
            StatusCode::OK,
            lines
                .iter()
                .map(|line| format!("{line}\n"))
                .collect::<String>(),
        );
    }
    let (feed, pieces) = mpsc::channel(64);
    let mut task = JoinSet::new();
    task.spawn(follow(
        Arc::clone(&call.state),
        namespace.to_owned(),
        name.to_owned(),
        feed,
    ));
    let mut reply = reply::of(StatusCode::OK, Feed::boxed(pieces, task));
    reply
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("text/plain"));
    reply
}

async fn follow(state: Arc<State>, namespace: String, pod: String, feed: mpsc::Sender<Piece>) {
    let (lines, mut more) = Store::log(&state.store, &namespace, &pod);
    for line in lines {
        if feed.send(piece(&line)).await.is_err() {
            return;
        }
    }
    loop {
        match more.recv().await {
            Ok(line) if line.namespace == namespace && line.pod == pod => {
                if feed.send(piece(&line.line)).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(RecvError::Lagged(_) | RecvError::Closed) => return,
        }
    }
}

fn piece(line: &str) -> Piece {
    Piece {
        bytes: Bytes::from(format!("{line}\n")),
        taken: None,
    }
}

/// `kubectl exec` over WebSocket. SPDY is refused, as by a server that has dropped it.
pub(super) fn exec(mut call: Call, namespace: &str, name: &str) -> Reply {
    if call.state.store.get("pods", namespace, name).is_none() {
        return reply::not_found(&format!("pods {name:?}"));
    }
    let headers = &call.head.headers;
    let websocket = headers
        .get(UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let offered = headers
        .get(SEC_WEBSOCKET_PROTOCOL)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let spoken = exec::PROTOCOLS
        .into_iter()
        .find(|known| offered.split(',').any(|offer| offer.trim() == *known));
    let key = headers.get(SEC_WEBSOCKET_KEY).cloned();
    let (true, Some(protocol), Some(key), Some(upgrade)) =
        (websocket, spoken, key, call.upgrade.take())
    else {
        let message = "the stand-in runs commands over WebSocket only (v4 and v5.channel.k8s.io)";
        return reply::refusal(StatusCode::BAD_REQUEST, "BadRequest", message);
    };
    let process = Process::new(name, call.texts("command"), call.flag("stdin"));
    tokio::spawn(exec::serve(upgrade, process));
    let mut reply = upgrade::switching(HeaderValue::from_static("websocket"));
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .expect("base64 is a header value");
    reply.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    reply
        .headers_mut()
        .insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    reply
}
