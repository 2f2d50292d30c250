//! Answers in the shapes that Kubernetes clients know.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::body::{self, Boxed};

/// An answer of the stand-in.
pub(super) type Reply = Response<Boxed>;

pub(super) fn json(status: StatusCode, value: &Value) -> Reply {
    typed(status, "application/json", value.to_string())
}

pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    typed(status, "text/plain; charset=utf-8", text)
}

pub(super) fn of(status: StatusCode, body: Boxed) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply
}

/// A refusal, as Kubernetes words it.
pub(super) fn refusal(status: StatusCode, reason: &str, message: &str) -> Reply {
    let value = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": status.as_u16(),
    });
    json(status, &value)
}

pub(super) fn not_found(what: &str) -> Reply {
    refusal(
        StatusCode::NOT_FOUND,
        "NotFound",
        &format!("{what} not found"),
    )
}

fn typed(status: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Reply {
    let mut reply = of(status, body::full(text));
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}
