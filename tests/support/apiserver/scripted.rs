//! Routes made for tests: bodies that echo, break off, wait, or come on demand.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Instant;

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, TRAILER};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};

use super::body::{Feed, Pattern, Piece, full};
use super::reply::{self, Reply};
use super::routes::Call;
use crate::deadline::within;

pub(super) async fn answer(call: Call, segments: &[&str]) -> Reply {
    match segments {
        ["echo"] => Response::new(call.body.boxed_unsync()),
        ["early"] => reply::refusal(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            "refused before the body",
        ),
        ["slow"] => slow(call).await,
        ["trailers"] => trailers(call).await,
        ["bytes"] => Response::new(Pattern::whole(call.number("n")).boxed_unsync()),
        ["break"] => broken(call),
        ["doubled"] => doubled(),
        ["head"] => long_head(&call),
        ["watch"] => call.state.watchers.watch(),
        ["small"] => small(call).await,
        ["status", code] => status(call, code).await,
        _ => reply::not_found(&format!("path {:?}", call.head.uri.path())),
    }
}

/// Answers when the test says so.
async fn slow(call: Call) -> Reply {
    call.state
        .slow
        .acquire()
        .await
        .expect("the semaphore is never closed")
        .forget();
    call.body.read().await;
    reply::json(StatusCode::OK, &json!({"released": true}))
}

/// A body of `hello` and the trailers `x-checksum: 5d41` and `x-late: yes`. HTTP/1.1 clients must ask with `TE: trailers`.
async fn trailers(call: Call) -> Reply {
    call.body.read().await;
    let mut late = HeaderMap::new();
    late.insert("x-checksum", HeaderValue::from_static("5d41"));
    late.insert("x-late", HeaderValue::from_static("yes"));
    let frames = [
        Frame::data(Bytes::from_static(b"hello")),
        Frame::trailers(late),
    ];
    let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok)));
    let mut reply = reply::of(StatusCode::OK, body.boxed_unsync());
    reply
        .headers_mut()
        .insert(TRAILER, HeaderValue::from_static("x-checksum, x-late"));
    reply
}

/// Gives `after` bytes of a longer body, then closes the TCP connection. (Over HTTP/2 `after` must fit the client's window.)
/// With `chunked=true` the head does not say how long the body is.
fn broken(call: Call) -> Reply {
    let (after, chunked) = (call.number("after"), call.flag("chunked"));
    let peer = call.peer;
    let body = Pattern::broken(after, || peer.cut_after_flush());
    Response::new(if chunked { body.unannounced() } else { body }.boxed_unsync())
}

/// Headers that stand twice, and one that is not UTF-8.
fn doubled() -> Reply {
    let mut reply = reply::json(StatusCode::OK, &json!({}));
    let headers = reply.headers_mut();
    headers.append("warning", HeaderValue::from_static("299 - \"one\""));
    headers.append("warning", HeaderValue::from_static("299 - \"two\""));
    headers.append("audit-id", HeaderValue::from_static("a1"));
    headers.append(
        "x-raw",
        HeaderValue::from_bytes(b"\xffraw").expect("no control byte"),
    );
    reply
}

/// A header of `n` bytes.
fn long_head(call: &Call) -> Reply {
    let len = usize::try_from(call.number("n")).expect("tests ask for few");
    let mut reply = reply::json(StatusCode::OK, &json!({}));
    let value = HeaderValue::try_from("a".repeat(len)).expect("letters only");
    reply.headers_mut().insert("x-long", value);
    reply
}

async fn small(call: Call) -> Reply {
    call.body.read().await;
    let mut reply = reply::of(StatusCode::OK, full(SMALL.clone()));
    reply
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/json"));
    reply
}

async fn status(call: Call, code: &str) -> Reply {
    call.body.read().await;
    let status = StatusCode::from_bytes(code.as_bytes()).unwrap_or(StatusCode::BAD_REQUEST);
    if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        return reply::of(status, super::body::empty());
    }
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

/// Those who watch `/watch`.
#[derive(Debug, Clone)]
pub(super) struct Watchers {
    feeds: Arc<Mutex<Vec<mpsc::Sender<Piece>>>>,
    count: watch::Sender<usize>,
}

impl Default for Watchers {
    fn default() -> Self {
        Self {
            feeds: Arc::default(),
            count: watch::Sender::new(0),
        }
    }
}

impl Watchers {
    fn watch(&self) -> Reply {
        let (feed, pieces) = mpsc::channel(1024);
        self.feeds.lock().unwrap().push(feed);
        self.count.send_modify(|count| *count += 1);
        let mut reply = reply::of(StatusCode::OK, Feed::boxed(pieces, Watching(self.clone())));
        reply
            .headers_mut()
            .insert("content-type", HeaderValue::from_static("application/json"));
        reply
    }

    pub(super) async fn wait_for(&self, wanted: usize) -> Result<()> {
        let mut count = self.count.subscribe();
        within(
            &format!("{wanted} watchers"),
            count.wait_for(|count| *count == wanted),
        )
        .await??;
        Ok(())
    }

    pub(super) async fn push(&self, event: &Value) -> Result<Instant> {
        let feeds = self.feeds.lock().unwrap().clone();
        ensure!(!feeds.is_empty(), "nobody watches /watch");
        let line = Bytes::from(format!("{event}\n"));
        let mut waiting = Vec::new();
        for feed in feeds {
            let (taken, when) = oneshot::channel();
            if feed
                .send(Piece {
                    bytes: line.clone(),
                    taken: Some(taken),
                })
                .await
                .is_ok()
            {
                waiting.push(when);
            }
        }
        let mut last = Instant::now();
        for when in waiting {
            // A watcher that went away meanwhile takes nothing.
            if let Ok(when) = within("an event to be written", when).await? {
                last = when;
            }
        }
        Ok(last)
    }
}

/// Lives as long as one watcher's body.
struct Watching(Watchers);

impl Drop for Watching {
    fn drop(&mut self) {
        // The body drops its receiver before this guard, so the feed that goes is already closed.
        self.0
            .feeds
            .lock()
            .unwrap()
            .retain(|feed| !feed.is_closed());
        self.0.count.send_modify(|count| *count -= 1);
    }
}

/// About 1 KiB of JSON.
static SMALL: LazyLock<Bytes> = LazyLock::new(|| {
    let value = json!({"kind": "Small", "apiVersion": "stand-in/v1", "padding": "x".repeat(968)});
    value.to_string().into()
});
