//! Which headers may cross the tunnel. Server and agent both clean, and neither trusts the other to have done it.

use http::header::{
    CONNECTION, EXPECT, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL, TE, TRANSFER_ENCODING, UPGRADE,
};

/// The WebSocket subprotocol in which browsers send a bearer token to an API server.
const BEARER_SUBPROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// Removes from a request what is for one connection only, what claims an identity or carries a credential, and what the
/// `Connection` header names. `Expect` goes too: whoever accepted the request has answered it.
///
/// Allocates nothing unless there is a `Connection` header or a token in a WebSocket subprotocol.
pub fn clean_request_headers(headers: &mut HeaderMap) {
    remove_connection_names(headers);
    remove(headers, |name| {
        hop_by_hop(name) || is_identity(name) || name == EXPECT
    });
    remove_bearer_subprotocols(headers);
}

/// Removes from a response what is for one connection only, what the `Connection` header names, and CORS grants: the API
/// server's say over origins does not extend to the tunnel's server.
pub fn clean_response_headers(headers: &mut HeaderMap) {
    remove_connection_names(headers);
    remove(headers, |name| hop_by_hop(name) || is_cors(name));
}

/// Whether a connection may switch to `protocol`: to what Kubernetes streams over, and to nothing else. A switch to
/// HTTP/2 (`h2c`), above all, would open a connection on which requests reach the API server past every check.
#[must_use]
pub fn may_switch_to(protocol: &HeaderValue) -> bool {
    let streams: [&[u8]; 2] = [b"websocket", b"SPDY/3.1"];
    streams
        .iter()
        .any(|name| protocol.as_bytes().eq_ignore_ascii_case(name))
}

/// Whether a header is for one connection only (RFC 9110, section 7.6.1). `Trailer` is not: trailers that it does not
/// announce are lost over HTTP/1.1.
#[must_use]
pub fn hop_by_hop(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == TE
        || *name == TRANSFER_ENCODING
        || *name == UPGRADE
        || *name == PROXY_AUTHENTICATE
        || *name == PROXY_AUTHORIZATION
        || matches!(
            name.as_str(),
            "http2-settings" | "keep-alive" | "proxy-authentication-info" | "proxy-connection"
        )
}

/// Whether a header carries a credential or says who somebody is or comes from. Letters are compared after every other
/// character but a digit has become `-`, as some servers do: `impersonate_user` is one.
#[must_use]
pub fn is_identity(name: &HeaderName) -> bool {
    let name = name.as_str();
    let prefixes = ["impersonate-", "x-remote-", "x-forwarded-", "proxy-"];
    let names = ["authorization", "cookie", "cookie2", "forwarded"];
    prefixes.iter().any(|prefix| starts_with(name, prefix)) || names.contains(&name)
}

/// Whether a header asks for Kubernetes impersonation, in whatever spelling.
#[must_use]
pub fn is_impersonation(name: &HeaderName) -> bool {
    starts_with(name.as_str(), "impersonate-")
}

/// Whether a response header is about cross-origin requests.
#[must_use]
pub fn is_cors(name: &HeaderName) -> bool {
    starts_with(name.as_str(), "access-control-")
}

/// The header names that the `Connection` headers list, as they are spelled there.
pub fn connection_names(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all(CONNECTION).iter().flat_map(names_in)
}

fn names_in(value: &HeaderValue) -> impl Iterator<Item = &str> {
    let text = value.to_str().unwrap_or_default();
    text.split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

/// Whether `name` begins with `prefix`, which has `-` for everything but letters and digits.
fn starts_with(name: &str, prefix: &str) -> bool {
    let plain = |byte: u8| {
        if byte.is_ascii_alphanumeric() {
            byte.to_ascii_lowercase()
        } else {
            b'-'
        }
    };
    name.len() >= prefix.len()
        && name
            .bytes()
            .zip(prefix.bytes())
            .all(|(byte, wanted)| plain(byte) == wanted)
}

fn remove_connection_names(headers: &mut HeaderMap) {
    // Values share their bytes, so only the list itself is allocated, and that only if there is a value.
    let values: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
    for name in values.iter().flat_map(names_in) {
        headers.remove(name);
    }
}

fn remove(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    while let Some(name) = headers.keys().find(|name| unwanted(name)).cloned() {
        headers.remove(name);
    }
}

/// The credential goes; the other subprotocols stay, in their order, for the API server to choose from.
fn remove_bearer_subprotocols(headers: &mut HeaderMap) {
    let carries = |value: &HeaderValue| names_in(value).any(is_bearer);
    if !headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().any(carries) {
        return;
    }
    let values: Vec<HeaderValue> = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .cloned()
        .collect();
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    for value in values {
        let kept: Vec<&str> = names_in(&value).filter(|name| !is_bearer(name)).collect();
        if let Ok(value) = HeaderValue::from_str(&kept.join(", "))
            && !value.is_empty()
        {
            headers.append(SEC_WEBSOCKET_PROTOCOL, value);
        }
    }
}

fn is_bearer(protocol: &str) -> bool {
    protocol
        .as_bytes()
        .get(..BEARER_SUBPROTOCOL.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(BEARER_SUBPROTOCOL.as_bytes()))
}

#[cfg(test)]
mod tests;
