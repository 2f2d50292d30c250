//! The second lock, in the cluster: which heads the agent carries, and the identity headers it alone makes.
//!
//! Pure. The agent does not trust the server's cleaning: a head that could speak for somebody is refused, not cleaned.

mod recent;

use ci_tunnel::kube;
use ci_tunnel::protocol::head::{RequestHead, RequestKind};
use ci_tunnel::protocol::identity::{KubernetesIdentity, NotAHeader};
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue,
    SEC_WEBSOCKET_PROTOCOL,
};

pub use recent::Recent;

/// Why a request is not carried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("it is meant for agent {wanted}, this is agent {own}")]
    OtherAgent { wanted: u64, own: u64 },
    #[error("its head holds the header {0}, which only the agent or the connection may set")]
    Header(HeaderName),
    #[error("its content-length does not fit what it is")]
    ContentLength,
    #[error("its target is ambiguous: {0}")]
    Target(#[from] kube::BadTarget),
    #[error("it asks to switch to a protocol that is no stream of Kubernetes")]
    Protocol,
    #[error(transparent)]
    Identity(#[from] NotAHeader),
}

/// The headers to send for `head` to the API server: its own, then those of its identity, which `recent` may know.
///
/// # Errors
/// The head is for another agent, or holds what could change as whom it runs or where it ends.
pub fn headers(head: RequestHead, agent: u64, recent: &Recent) -> Result<HeaderMap, Refusal> {
    if head.agent != agent {
        return Err(Refusal::OtherAgent {
            wanted: head.agent,
            own: agent,
        });
    }
    kube::check_target(&head.target)?;
    check_protocol(&head.kind)?;
    check_names(&head.headers)?;
    check_subprotocols(&head.headers)?;
    check_length(&head.kind, &head.headers)?;
    let mut headers = head.headers;
    if let KubernetesIdentity::Impersonate(impersonation) = &head.identity {
        let identity = recent.headers(impersonation)?;
        headers.reserve(identity.len());
        for (name, value) in identity.iter() {
            headers.append(name.clone(), value.clone());
        }
    }
    Ok(headers)
}

fn check_protocol(kind: &RequestKind) -> Result<(), Refusal> {
    match kind {
        RequestKind::Upgrade(protocol) if !kube::may_switch_to(protocol) => Err(Refusal::Protocol),
        _ => Ok(()),
    }
}

fn check_names(headers: &HeaderMap) -> Result<(), Refusal> {
    let forbidden = |name: &&HeaderName| {
        kube::is_identity(name)
            || kube::hop_by_hop(name)
            || [&HOST, &AUTHORIZATION, &COOKIE].contains(name)
    };
    headers
        .keys()
        .find(forbidden)
        .map_or(Ok(()), |name| Err(Refusal::Header(name.clone())))
}

/// Browsers send a bearer token to an API server as a WebSocket subprotocol: a credential in another coat.
fn check_subprotocols(headers: &HeaderMap) -> Result<(), Refusal> {
    let bearer = b"base64url.bearer.authorization.k8s.io.";
    let carries = |value: &HeaderValue| {
        value
            .as_bytes()
            .windows(bearer.len())
            .any(|at| at.eq_ignore_ascii_case(bearer))
    };
    if headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().any(carries) {
        return Err(Refusal::Header(SEC_WEBSOCKET_PROTOCOL));
    }
    Ok(())
}

/// A length that does not fit the body would make the next request on the connection part of this one, or this one's
/// body the next request.
fn check_length(kind: &RequestKind, headers: &HeaderMap) -> Result<(), Refusal> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let (Some(length), None) = (lengths.next(), lengths.next()) else {
        return if headers.contains_key(CONTENT_LENGTH) {
            Err(Refusal::ContentLength)
        } else {
            Ok(())
        };
    };
    let digits = length
        .to_str()
        .ok()
        .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits
        .and_then(|digits| digits.parse::<u64>().ok())
        .ok_or(Refusal::ContentLength)?;
    match kind {
        RequestKind::Body => Ok(()),
        RequestKind::Empty | RequestKind::Upgrade(_) if number == 0 => Ok(()),
        RequestKind::Empty | RequestKind::Upgrade(_) => Err(Refusal::ContentLength),
    }
}

#[cfg(test)]
mod tests;
