//! From a request to the part of the stand-in that answers it.

use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::State;
use super::body::{Upload, Watched};
use super::connection::Peer;
use super::recorder::{Answering, Entry};
use super::reply::{self, Reply};
use super::{discovery, identity, pod, resources, scripted, upgrade};

/// One request, with all that is needed to answer it.
pub(super) struct Call {
    pub(super) state: Arc<State>,
    pub(super) peer: Arc<Peer>,
    pub(super) head: Parts,
    pub(super) body: Upload,
    pub(super) upgrade: Option<OnUpgrade>,
    pub(super) entry: Entry,
}

pub(super) async fn answer(
    state: Arc<State>,
    peer: Arc<Peer>,
    request: Request<Incoming>,
) -> Response<Watched> {
    let (mut head, incoming) = request.into_parts();
    let entry = state.recorder.arrived(peer.number, &head);
    // Dropped with this future when the client goes away before there is an answer.
    let answering = Answering::new(entry.clone());
    let upgrade = head.extensions.remove::<OnUpgrade>();
    let body = Upload::new(incoming, entry.clone());
    let call = Call {
        state,
        peer,
        head,
        body,
        upgrade,
        entry,
    };
    Box::pin(route(call))
        .await
        .map(|body| Watched::new(body, answering))
}

async fn route(call: Call) -> Reply {
    if !call.is_authenticated() {
        let mut reply = reply::refusal(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized");
        reply.headers_mut().insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"stand-in\""),
        );
        return reply;
    }
    if let Err(refused) = identity::check(&call.head.headers) {
        return *refused;
    }
    let path = call.head.uri.path().to_owned();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match segments.as_slice() {
        ["upgrade", kind] => upgrade::answer(call, kind).await,
        ["apis", "authentication.k8s.io", "v1", "selfsubjectreviews"] => {
            identity::review(call).await
        }
        [
            "apis",
            "authorization.k8s.io",
            "v1",
            "selfsubjectaccessreviews",
        ] => identity::access_review(call).await,
        [
            "api",
            "v1",
            "namespaces",
            _,
            "pods" | "services",
            _,
            "proxy",
            ..,
        ] => reply::text(StatusCode::OK, path),
        ["api", "v1", "namespaces", namespace, "pods", name, "log"] => {
            pod::log(&call, namespace, name)
        }
        ["api", "v1", "namespaces", namespace, "pods", name, "exec"] => {
            pod::exec(call, namespace, name)
        }
        ["api", "v1", rest @ ..] if !matches!(rest, [] | [""]) => {
            resources::answer(call, rest).await
        }
        [
            "version" | "readyz" | "livez" | "healthz" | "api" | "apis" | "openapi",
            ..,
        ] => discovery::answer(&segments),
        _ => scripted::answer(call, &segments).await,
    }
}

impl Call {
    /// The value of a query parameter, not decoded.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        let pairs = self.head.uri.query().unwrap_or_default().split('&');
        pairs
            .filter_map(|pair| pair.split_once('='))
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// The values of a query parameter, decoded.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let pairs = self
            .head
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        pairs
            .filter(|(known, _)| *known == name)
            .map(|(_, value)| identity::decode(&value.replace('+', " ")))
            .collect()
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.texts(name).into_iter().next()
    }

    /// A query parameter as a number; 0 when there is none.
    pub(super) fn number(&self, name: &str) -> u64 {
        self.query(name)
            .and_then(|value| value.parse().ok())
            .unwrap_or(0)
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.query(name), Some("true" | "1"))
    }

    fn is_authenticated(&self) -> bool {
        let mut credentials = self.head.headers.get_all(AUTHORIZATION).iter();
        let wanted = format!("Bearer {}", self.state.token);
        credentials
            .next()
            .is_some_and(|value| value.as_bytes() == wanted.as_bytes())
            && credentials.next().is_none()
    }
}
