//! A request on its way to the API server: target, headers and what the agent adds.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, HOST, TE, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Empty};

use super::credentials::Loaded;
use super::{Body, Error};

/// One request, cleaned and with its identity headers, less `Host` and the agent's own credentials.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub method: Method,
    pub target: Bytes,
    pub headers: HeaderMap,
    /// The protocol to switch to.
    pub upgrade: Option<HeaderValue>,
}

impl Outgoing {
    /// Whether sending it a second time does no harm: safe by its method, and no upgrade, which may start something.
    pub(super) fn repeatable(&self) -> bool {
        self.upgrade.is_none() && self.method.is_safe()
    }

    /// The request as it goes out. What belongs to the connection and to the agent is put in last, so that nothing
    /// replaces it.
    pub(super) fn request(
        &self,
        loaded: &Loaded,
        authorization: Option<&HeaderValue>,
        body: Body,
    ) -> Result<Request<Body>, Error> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri(&loaded.endpoint.prefix, &self.target)?;
        let headers = request.headers_mut();
        *headers = self.headers.clone();
        headers.insert(HOST, loaded.endpoint.host_header.clone());
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        if let Some(protocol) = &self.upgrade {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, protocol.clone());
        } else {
            // Whoever does not hear this may keep its trailers (RFC 9110, section 10.1.4).
            headers.insert(TE, HeaderValue::from_static("trailers"));
            headers.insert(CONNECTION, HeaderValue::from_static("TE"));
        }
        Ok(request)
    }
}

/// No body at all, not even an empty chunked one.
pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// The target byte for byte, or nothing: what the URI parser would cut or change is refused.
fn uri(prefix: &str, target: &Bytes) -> Result<Uri, Error> {
    let whole = if prefix.is_empty() {
        target.clone()
    } else {
        [prefix.as_bytes(), target].concat().into()
    };
    let parsed = PathAndQuery::from_maybe_shared(whole.clone())
        .map_err(|error| refused(&format!("its path can not be sent: {error}")))?;
    if parsed.as_str().as_bytes() != whole {
        return Err(refused("its path can not be sent as it is"));
    }
    Ok(Uri::from(parsed))
}

fn refused(reason: &str) -> Error {
    Error::Refused {
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_stay_as_they_are_or_are_refused() {
        for target in [
            "/",
            "//x//y",
            "/a%2fb/../c?d=e&&f=%zz",
            "/a;b=c{}\"?q={}|^`",
            "/ü",
        ] {
            let uri = uri("", &Bytes::copy_from_slice(target.as_bytes())).unwrap();
            assert_eq!(uri.to_string(), target);
            assert_eq!(uri.host(), None);
        }
        for target in ["/a#b", "/a b", "/\u{7f}"] {
            assert!(
                uri("", &Bytes::copy_from_slice(target.as_bytes())).is_err(),
                "{target}"
            );
        }
    }
}
