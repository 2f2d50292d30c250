//! The API server's answer → the response that the client gets, with everything that lives as long as its body.

use std::sync::Arc;

use bytes::Bytes;
use ci_tunnel::protocol::head::ResponseHead;
use ci_tunnel::runtime::drain;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, UPGRADE};
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;

use super::body::{Body, Flow, Kept, State, Tunnel};
use super::upgrade::Upgraded;
use super::{Permitted, forward};
use crate::agents::session::Running;
use crate::audit::Record;

/// A response whose head is here.
pub(super) struct Carried {
    pub(super) response: ResponseHead,
    pub(super) sent: forward::Sent,
    pub(super) permitted: Permitted,
    pub(super) running: Running,
    /// The client's side of the switch, when the response is a verified one.
    pub(super) upgrade: Option<OnUpgrade>,
    /// The answer to a HEAD request announces a body that does not come.
    pub(super) head_only: bool,
    pub(super) drain: drain::Watcher,
}

impl Carried {
    /// The response as the client gets it; the record goes with its body.
    pub(super) fn finish(self, mut record: Record) -> Response<Body> {
        let Self {
            response,
            sent,
            permitted,
            running,
            upgrade,
            head_only,
            drain,
        } = self;
        record.status(response.status.as_u16());
        let mut headers = response.headers;
        ci_tunnel::kube::clean_response_headers(&mut headers);
        let Some(client) = upgrade else {
            let body = tunnel(
                &headers,
                response.status,
                head_only,
                sent,
                permitted,
                running,
                record,
            );
            return answer(response.status, headers, Body::Tunnel(body));
        };
        let protocol = response
            .upgrade
            .unwrap_or_else(|| HeaderValue::from_static(""));
        record.upgrade(&String::from_utf8_lossy(protocol.as_bytes()));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, protocol);
        if let Some(sender) = sent.sender {
            let Permitted { live, slots, .. } = permitted;
            let upgraded = Upgraded {
                sender,
                receiver: sent.receiver,
                record,
                live,
                slots,
                running,
            };
            tokio::spawn(upgraded.run(client, drain));
        }
        answer(response.status, headers, Body::whole(Bytes::new(), None))
    }
}

fn tunnel(
    headers: &HeaderMap,
    status: StatusCode,
    head_only: bool,
    sent: forward::Sent,
    permitted: Permitted,
    running: Running,
    record: Record,
) -> Tunnel {
    let bodiless =
        head_only || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let expected = if bodiless { None } else { announced };
    let Permitted { live, slots, .. } = permitted;
    let request = Arc::clone(live.request());
    let mut flow = Flow {
        receiver: sent.receiver,
        expected,
        pace: slots.pace(),
        unpaid: None,
        kept: Some(Kept {
            record,
            live,
            _upload: sent.upload,
            _slots: slots,
            _running: running,
        }),
        state: State::Flowing,
    };
    if bodiless || expected == Some(0) {
        flow.complete();
    }
    Tunnel::new(flow, &request)
}

fn answer(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
