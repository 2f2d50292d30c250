//! The REST verbs of Kubernetes over the [`Store`](super::store::Store): get, list, watch, create, update, patch, delete.

mod place;

use std::sync::Arc;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::place::{Place, Selector};
use super::body::{Feed, Piece};
use super::reply::{self, Reply};
use super::routes::Call;
use super::store::Change;
use super::{State, table};

pub(super) async fn answer(call: Call, segments: &[&str]) -> Reply {
    let Some(place) = Place::read(segments) else {
        return reply::not_found(&format!("path {:?}", call.head.uri.path()));
    };
    let method = call.head.method.clone();
    match (&method, &place.name) {
        (&Method::GET, None) if call.flag("watch") => watch(&call, place),
        (&Method::GET, None) => list(&call, &place),
        (&Method::GET, Some(name)) => get(&call, &place, name),
        (&Method::POST, None) => create(call, &place).await,
        (&Method::PUT, Some(name)) => update(call, &place, name).await,
        (&Method::PATCH, Some(name)) => patch(call, &place, name).await,
        (&Method::DELETE, Some(name)) => delete(call, &place, name).await,
        _ => reply::refusal(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "the stand-in does not know this verb",
        ),
    }
}

fn get(call: &Call, place: &Place, name: &str) -> Reply {
    let Some(object) = call
        .state
        .store
        .get(&place.resource, place.namespace(), name)
    else {
        return place.missing(name);
    };
    if table::is_wanted(&call.head.headers) {
        return reply::json(StatusCode::OK, &table::of(&place.resource, &[object], 0));
    }
    reply::json(StatusCode::OK, &object)
}

fn list(call: &Call, place: &Place) -> Reply {
    let (version, mut objects) = call
        .state
        .store
        .list(&place.resource, place.namespace.as_deref());
    let selector = Selector::of(call);
    objects.retain(|object| selector.selects(object));
    if table::is_wanted(&call.head.headers) {
        return reply::json(
            StatusCode::OK,
            &table::of(&place.resource, &objects, version),
        );
    }
    let list = json!({
        "kind": format!("{}List", place.kind), "apiVersion": "v1",
        "metadata": {"resourceVersion": version.to_string()}, "items": objects,
    });
    reply::json(StatusCode::OK, &list)
}

/// Events as lines of JSON, the missed ones first, until the client goes.
fn watch(call: &Call, place: Place) -> Reply {
    let (feed, pieces) = mpsc::channel(64);
    let as_table = call.head.headers.get(ACCEPT).is_some() && table::is_wanted(&call.head.headers);
    let watching = Watching {
        place,
        selector: Selector::of(call),
        as_table,
        since: (!call.flag("sendInitialEvents")).then(|| call.number("resourceVersion")),
    };
    let mut task = JoinSet::new();
    task.spawn(watching.run(Arc::clone(&call.state), feed));
    let mut reply = reply::of(StatusCode::OK, Feed::boxed(pieces, task));
    reply.headers_mut().insert(
        "content-type",
        http::HeaderValue::from_static("application/json"),
    );
    reply
}

struct Watching {
    place: Place,
    selector: Selector,
    as_table: bool,
    /// The version behind which events are told; `None`: the objects that there are come first, then a bookmark.
    since: Option<u64>,
}

impl Watching {
    async fn run(self, state: Arc<State>, feed: mpsc::Sender<Piece>) {
        let (missed, mut changes) = state.store.watch(self.since.unwrap_or(u64::MAX));
        for change in missed {
            if !self.tell(&change, &feed).await {
                return;
            }
        }
        let mut told = 0;
        if self.since.is_none() {
            match self.tell_all(&state, &feed).await {
                Some(version) => told = version,
                None => return,
            }
        }
        loop {
            let change = match changes.recv().await {
                Ok(change) => change,
                // Too slow a reader lost events: end, so that it lists anew, as the real one does.
                Err(RecvError::Lagged(_) | RecvError::Closed) => return,
            };
            if change.version > told && !self.tell(&change, &feed).await {
                return;
            }
        }
    }

    /// What `sendInitialEvents` asks for, and the version of that; `None` when nobody listens any more.
    async fn tell_all(&self, state: &State, feed: &mpsc::Sender<Piece>) -> Option<u64> {
        let (version, objects) = state
            .store
            .list(&self.place.resource, self.place.namespace.as_deref());
        for object in objects {
            let change = Change {
                version,
                resource: self.place.resource.clone(),
                kind: "ADDED",
                object,
            };
            if !self.tell(&change, feed).await {
                return None;
            }
        }
        let end = json!({"type": "BOOKMARK", "object": {
            "kind": self.place.kind, "apiVersion": "v1",
            "metadata": {
                "resourceVersion": version.to_string(),
                "annotations": {"k8s.io/initial-events-end": "true"},
            },
        }});
        send(&end, feed).await.then_some(version)
    }

    /// False when nobody listens any more.
    async fn tell(&self, change: &Change, feed: &mpsc::Sender<Piece>) -> bool {
        let namespace = change.object["metadata"]["namespace"].as_str();
        let elsewhere =
            self.place.namespace.is_some() && self.place.namespace.as_deref() != namespace;
        if change.resource != self.place.resource
            || elsewhere
            || !self.selector.selects(&change.object)
        {
            return true;
        }
        let object = if self.as_table {
            table::of(
                &change.resource,
                std::slice::from_ref(&change.object),
                change.version,
            )
        } else {
            change.object.clone()
        };
        send(&json!({"type": change.kind, "object": object}), feed).await
    }
}

/// False when nobody listens any more.
async fn send(event: &Value, feed: &mpsc::Sender<Piece>) -> bool {
    let bytes = Bytes::from(format!("{event}\n"));
    feed.send(Piece { bytes, taken: None }).await.is_ok()
}

async fn create(call: Call, place: &Place) -> Reply {
    let Call { state, body, .. } = call;
    let Ok(object) = serde_json::from_slice::<Value>(&body.read().await) else {
        return unreadable();
    };
    let Some(name) = object["metadata"]["name"].as_str().map(str::to_owned) else {
        return unreadable();
    };
    if state
        .store
        .get(&place.resource, place.namespace(), &name)
        .is_some()
    {
        let message = format!("{} {name:?} already exists", place.resource);
        return reply::refusal(StatusCode::CONFLICT, "AlreadyExists", &message);
    }
    reply::json(StatusCode::CREATED, &place.put(&state, &name, object))
}

async fn update(call: Call, place: &Place, name: &str) -> Reply {
    let Call { state, body, .. } = call;
    let Ok(object) = serde_json::from_slice::<Value>(&body.read().await) else {
        return unreadable();
    };
    reply::json(StatusCode::OK, &place.put(&state, name, object))
}

/// Every kind of patch is taken as a JSON merge patch; server-side apply also creates.
async fn patch(call: Call, place: &Place, name: &str) -> Reply {
    let Call {
        state, body, head, ..
    } = call;
    let Ok(patch) = serde_json::from_slice::<Value>(&body.read().await) else {
        return unreadable();
    };
    let content_type = head
        .headers
        .get("content-type")
        .map_or(&b""[..], |value| value.as_bytes());
    let existing = state.store.get(&place.resource, place.namespace(), name);
    let Some(mut object) = existing.or_else(|| {
        content_type
            .starts_with(b"application/apply-patch")
            .then(|| json!({}))
    }) else {
        return place.missing(name);
    };
    merge(&mut object, patch);
    reply::json(StatusCode::OK, &place.put(&state, name, object))
}

async fn delete(call: Call, place: &Place, name: &str) -> Reply {
    let Call { state, body, .. } = call;
    body.read().await;
    match state.store.delete(&place.resource, place.namespace(), name) {
        Some(_) => reply::json(
            StatusCode::OK,
            &json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}),
        ),
        None => place.missing(name),
    }
}

/// RFC 7396.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target
                .as_object_mut()
                .expect("made an object above")
                .remove(&key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

fn unreadable() -> Reply {
    reply::refusal(
        StatusCode::BAD_REQUEST,
        "BadRequest",
        "the stand-in reads JSON objects with a name only",
    )
}
