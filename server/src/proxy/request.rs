//! A client's request → what of it may travel: a checked target, clean headers, and what the client asked to be.

use std::sync::Arc;

use bytes::Bytes;
use ci_tunnel::kube::{self, Attributes};
use ci_tunnel::protocol::head::RequestKind;
use ci_tunnel::protocol::identity::{Impersonation, KubernetesIdentity};
use http::header::{ACCEPT, CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::{Method, Request, Version};

use super::reject::Reject;

/// The longest head, in bytes of target, names and values. Under what the HTTP library itself takes, so that the
/// refusal can be a `Status`.
pub const MAX_HEAD: usize = 48 * 1024;

/// What a request asks for, checked.
#[derive(Debug)]
pub struct Target {
    pub method: Method,
    /// Path and query as the client wrote them, less the URL prefix.
    pub target: Bytes,
    pub kind: RequestKind,
}

impl Target {
    /// Reads the request line, and what it says to Kubernetes.
    ///
    /// # Errors
    /// The head is too long, or what is asked for is ambiguous.
    pub fn of<B: http_body::Body>(
        request: &Request<B>,
        prefix: &str,
    ) -> Result<(Self, Attributes), Reject> {
        check_head(request)?;
        let whole = request
            .uri()
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let target = strip_prefix(whole, prefix)?;
        kube::check_target(target.as_bytes()).map_err(|bad| Reject::Malformed(bad.to_string()))?;
        let kind = kind(request)?;
        let (path, query) = target
            .split_once('?')
            .map_or((target, None), |(path, query)| (path, Some(query)));
        let upgrade = matches!(kind, RequestKind::Upgrade(_));
        let attributes = Attributes::of(request.method(), path, query, upgrade);
        let target = Self {
            method: request.method().clone(),
            target: Bytes::copy_from_slice(target.as_bytes()),
            kind,
        };
        Ok((target, attributes))
    }
}

/// Whether a client asks what there is, as kubectl and helm do first of all: they print the words of a refusal that is
/// plain text, and nothing but `unknown` of a `Status`.
pub fn is_discovery<B>(request: &Request<B>, prefix: &str) -> bool {
    let path = request
        .uri()
        .path()
        .strip_prefix(prefix.trim_end_matches('/'));
    let path = path.unwrap_or_default();
    let accept = request.headers().get(ACCEPT).map(HeaderValue::as_bytes);
    let asks = matches!(path, "/api" | "/apis" | "/version") || path.starts_with("/openapi/");
    asks && accept.is_some_and(|accept| accept.starts_with(b"application/"))
}

/// What every request must keep, whatever it asks for.
///
/// # Errors
/// The head is too long, or in a form that two readers could read differently.
pub fn check_head<B>(request: &Request<B>) -> Result<(), Reject> {
    if head_length(request) > MAX_HEAD {
        return Err(Reject::HeadTooLong { limit: MAX_HEAD });
    }
    check_form(request)
}

fn head_length<B>(request: &Request<B>) -> usize {
    let target = request
        .uri()
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    let headers: usize = request
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    request.method().as_str().len() + target + headers
}

/// Methods that name no resource of an API server, and targets in another form than a path.
fn check_form<B>(request: &Request<B>) -> Result<(), Reject> {
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(Reject::Malformed(format!(
            "the method {} is not carried",
            request.method()
        )));
    }
    let absolute = request.uri().authority().is_some() && request.version() < Version::HTTP_2;
    if absolute {
        return Err(Reject::Malformed(
            "the request line holds a whole URL; send the path alone".to_owned(),
        ));
    }
    if request.headers().get_all(HOST).iter().count() > 1 {
        return Err(Reject::Malformed("more than one Host header".to_owned()));
    }
    Ok(())
}

fn strip_prefix<'a>(target: &'a str, prefix: &str) -> Result<&'a str, Reject> {
    let rest = target.strip_prefix(prefix.trim_end_matches('/'));
    match rest {
        Some(rest) if rest.starts_with('/') => Ok(rest),
        _ => Err(Reject::Malformed(format!(
            "the path does not begin with {prefix}"
        ))),
    }
}

fn kind<B: http_body::Body>(request: &Request<B>) -> Result<RequestKind, Reject> {
    let asked = asks_for_upgrade(request.headers());
    let protocols: Vec<_> = request.headers().get_all(UPGRADE).iter().collect();
    match (asked, protocols.as_slice()) {
        (true, [protocol]) if request.version() == Version::HTTP_11 => {
            if !kube::may_switch_to(protocol) {
                Err(Reject::Malformed(
                    "an upgrade is carried to `websocket` and `SPDY/3.1` only".to_owned(),
                ))
            } else if request.body().is_end_stream() {
                Ok(RequestKind::Upgrade((*protocol).clone()))
            } else {
                Err(Reject::Malformed(
                    "an upgrade with a body is not carried".to_owned(),
                ))
            }
        }
        (true, _) => Err(Reject::Malformed(
            "an upgrade needs HTTP/1.1 and one Upgrade header".to_owned(),
        )),
        (false, _) if request.body().is_end_stream() => Ok(RequestKind::Empty),
        (false, _) => Ok(RequestKind::Body),
    }
}

fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    })
}

/// As whom the client asks to act (`kubectl --as`); taken out of the headers before they are cleaned.
///
/// # Errors
/// Groups, a uid or extras without a user, two users, or values that are not text.
pub fn asked_identity(headers: &HeaderMap) -> Result<Option<KubernetesIdentity>, Reject> {
    let mut asked = Impersonation::default();
    let mut any = false;
    for (name, value) in headers {
        let Some(field) = name.as_str().strip_prefix("impersonate-") else {
            continue;
        };
        any = true;
        let value = text(name, value)?;
        match field {
            "user" if asked.username.is_empty() => asked.username = value,
            "uid" if asked.uid.is_none() => asked.uid = Some(value),
            "group" => asked.groups.push(value),
            "user" | "uid" => {
                return Err(Reject::Malformed(format!("more than one {name} header")));
            }
            extra => match extra.strip_prefix("extra-") {
                Some(key) if !key.is_empty() => asked.extra.push((decode_key(key), value)),
                _ => {
                    return Err(Reject::Malformed(format!(
                        "the header {name} is not one of impersonation"
                    )));
                }
            },
        }
    }
    match any {
        false => Ok(None),
        true if asked.username.is_empty() => Err(Reject::Malformed(
            "impersonation headers without Impersonate-User".to_owned(),
        )),
        true => Ok(Some(KubernetesIdentity::Impersonate(Arc::new(asked)))),
    }
}

fn text(name: &HeaderName, value: &HeaderValue) -> Result<String, Reject> {
    let text = value
        .to_str()
        .map_err(|_| Reject::Malformed(format!("the header {name} is not ASCII text")))?;
    if text.is_empty() {
        Err(Reject::Malformed(format!("the header {name} is empty")))
    } else {
        Ok(text.to_owned())
    }
}

/// Clients escape what a header name can not hold.
fn decode_key(key: &str) -> String {
    percent_encoding::percent_decode_str(key)
        .decode_utf8_lossy()
        .into_owned()
}

/// Takes out of the headers everything that may not travel: credentials, identities, hop-by-hop headers and whatever
/// `Connection` names.
pub fn clean(headers: &mut HeaderMap) {
    kube::clean_request_headers(headers);
    headers.remove(HOST);
    headers.remove(EXPECT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_who_reads_plain_text_only() {
        const AGGREGATED: &str =
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        let asks = |path: &str, accept: Option<&str>, prefix: &str| {
            let mut request = Request::get(path);
            if let Some(accept) = accept {
                request = request.header(ACCEPT, accept);
            }
            is_discovery(&request.body(()).unwrap(), prefix)
        };
        for path in ["/api", "/apis?timeout=32s", "/version", "/openapi/v3"] {
            assert!(asks(path, Some(AGGREGATED), "/"), "{path}");
            assert!(asks(
                &format!("/k8s-proxy{path}"),
                Some(AGGREGATED),
                "/k8s-proxy/"
            ));
            // Programs that read a `Status` get one.
            assert!(
                !asks(path, Some("*/*"), "/") && !asks(path, None, "/"),
                "{path}"
            );
        }
        for path in [
            "/api/v1/pods",
            "/apis/apps/v1/deployments",
            "/",
            "/versions",
        ] {
            assert!(!asks(path, Some(AGGREGATED), "/"), "{path}");
        }
    }
}
