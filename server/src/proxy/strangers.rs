//! Requests of strangers that come faster than they may: refused unseen, and told of in one line for many.

use std::net::IpAddr;

use bytes::Bytes;
use http::Response;
use jiff::SignedDuration;

use super::body::Body;
use super::client::Client;
use super::limits::{Addresses, Over};
use super::reject::Reject;
use super::{Proxy, request_id};
use crate::audit::Audit;
use crate::audit::event::{Gap, What};
use crate::metrics::RequestLabels;

/// How long such requests gather for a line.
pub const PERIOD: SignedDuration = SignedDuration::from_secs(10);
/// So many addresses have a line of their own at a time.
const NAMED: usize = 10;

impl Proxy {
    /// The refusal of a request that is not looked at.
    pub(super) fn not_heard(&self, client: &Client, over: Over, as_text: bool) -> Response<Body> {
        client.unheard();
        let reject = Reject::from(over);
        self.count(&reject);
        let labels = RequestLabels {
            agent: String::new(),
            code: reject.status().as_u16(),
        };
        self.metrics.requests.get_or_create(&labels).inc();
        let id = request_id();
        tracing::debug!(request.id = id, client = %client.address, "{reject}");
        let response = reject.response(&id, as_text);
        response.map(|bytes: Bytes| Body::whole(bytes, None))
    }
}

/// Writes lines about such requests, where the first of them is that long ago.
pub fn tell(addresses: &Addresses, audit: &Audit, ago: SignedDuration) {
    let mut unsaid = addresses.take_unsaid(ago).into_iter();
    for (address, gap) in unsaid.by_ref().take(NAMED) {
        tell_one(audit, Some(address), gap);
    }
    let others = unsaid.map(|(_, gap)| gap).reduce(|all, gap| Gap {
        count: all.count + gap.count,
        since: all.since.min(gap.since),
        until: all.until.max(gap.until),
    });
    if let Some(gap) = others {
        tell_one(audit, None, gap);
    }
}

fn tell_one(audit: &Audit, client: Option<IpAddr>, gap: Gap) {
    tracing::warn!(
        client = client.map(tracing::field::display),
        count = gap.count,
        since = %gap.since,
        "requests without a good credential were refused, and have no lines of their own \
         (limits.address.rejected_per_second)"
    );
    audit.event(What::ClientRefused { client, gap });
}
