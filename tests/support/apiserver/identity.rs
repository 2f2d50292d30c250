//! As whom a request runs: the stand-in's own user, or whom the `Impersonate-*` headers name, as a real API server reads them.

use std::collections::BTreeMap;

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::reply::{self, Reply};
use super::routes::Call;

/// Impersonation without a user is an error, as in the real one.
pub(super) fn check(headers: &HeaderMap) -> Result<(), Box<Reply>> {
    let named = headers.contains_key("impersonate-user");
    let half = headers
        .keys()
        .any(|name| name.as_str().starts_with("impersonate-"));
    if half && !named {
        let message = "requested impersonation without impersonating a user";
        return Err(Box::new(reply::refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            message,
        )));
    }
    Ok(())
}

/// `kubectl auth whoami`.
pub(super) async fn review(call: Call) -> Reply {
    let user = user(&call.head.headers);
    call.body.read().await;
    let value = json!({
        "kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {},
        "status": {"userInfo": user},
    });
    reply::json(StatusCode::CREATED, &value)
}

/// `kubectl auth can-i`: the stand-in allows everything, and says to whom.
pub(super) async fn access_review(call: Call) -> Reply {
    let user = user(&call.head.headers);
    let asked: Value = serde_json::from_slice(&call.body.read().await).unwrap_or_default();
    let value = json!({
        "kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {},
        "spec": asked["spec"],
        "status": {"allowed": true, "reason": format!("the stand-in allows everything, here to {}", user["username"])},
    });
    reply::json(StatusCode::CREATED, &value)
}

fn user(headers: &HeaderMap) -> Value {
    let Some(username) = headers.get("impersonate-user") else {
        return json!({
            "username": "system:serviceaccount:ci-tunnel:agent",
            "groups": ["system:serviceaccounts", "system:serviceaccounts:ci-tunnel", "system:authenticated"],
        });
    };
    let mut groups = texts(headers, "impersonate-group");
    groups.push("system:authenticated".to_owned());
    let mut user =
        json!({"username": String::from_utf8_lossy(username.as_bytes()), "groups": groups});
    if let Some(uid) = texts(headers, "impersonate-uid").pop() {
        user["uid"] = uid.into();
    }
    let extra = extra(headers);
    if !extra.is_empty() {
        user["extra"] = json!(extra);
    }
    user
}

fn extra(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut extra = BTreeMap::new();
    for name in headers.keys() {
        if let Some(key) = name.as_str().strip_prefix("impersonate-extra-") {
            extra.insert(decode(key), texts(headers, name.as_str()));
        }
    }
    extra
}

fn texts(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect()
}

/// Undoes percent encoding; what is not encoded properly stays.
pub(super) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let hex = text
            .get(index + 1..index + 3)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes[index], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                index += 3;
            }
            (byte, _) => {
                out.push(byte);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
