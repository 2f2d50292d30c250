//! `POST /-/webhook/config`: GitLab or GitHub tells of a push, so that a configuration repository is read at once.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::client::Client;
use super::reject::Reject;
use super::request;
use crate::audit::{Ending, Record};
use crate::configrepo::webhook::{Error, Proof, Standard, Webhooks};

/// The endpoint, where any repository takes webhooks.
#[derive(Debug)]
pub struct Endpoint {
    webhooks: Webhooks,
    /// Bodies at a time.
    places: Semaphore,
}

const PATH: &str = "/-/webhook/config";
/// GitHub sends up to 25 MB, of a push of thousands of commits; such a one is seen at the next poll.
const MAX_BODY: usize = 4 * 1024 * 1024;
const PLACES: usize = 16;
/// For a body to arrive.
const DEADLINE: Duration = Duration::from_secs(10);

impl Endpoint {
    pub fn new(webhooks: Webhooks) -> Self {
        Self {
            webhooks,
            places: Semaphore::new(PLACES),
        }
    }

    /// Whether this request is for the endpoint: no API server has such a path.
    pub fn is_asked<B>(&self, request: &Request<B>, prefix: &str) -> bool {
        let path = request.uri().path();
        self.webhooks.are_expected()
            && path.strip_prefix(prefix.trim_end_matches('/')) == Some(PATH)
    }

    /// Answers at once; what the webhook asks for goes on behind it. The answer is the same for every project.
    pub async fn answer(
        &self,
        request: Request<Incoming>,
        client: &Client,
        record: &mut Record,
    ) -> Result<Response<Bytes>, Reject> {
        if request.method() != Method::POST {
            return Err(Reject::Malformed(format!("{PATH} answers POST only")));
        }
        request::check_head(&request)?;
        let (parts, body) = request.into_parts();
        let proof = proof(&parts.headers);
        if proof.token.is_none() && proof.hub.is_none() && proof.standard.is_none() {
            return Err(Reject::Unsigned(Error::Unsigned));
        }
        let _place = self
            .places
            .try_acquire()
            .map_err(|_| Reject::TooManyWebhooks)?;
        let body = read(body).await?;
        self.webhooks
            .take(&proof, &body)
            .map_err(|error| match error {
                Error::Unsigned => Reject::Unsigned(error),
                Error::NotJson => Reject::Malformed(error.to_string()),
            })?;
        record.end(Ending::Complete, None);
        let mut response = Response::new(Bytes::from_static(b"{\"accepted\":true}\n"));
        *response.status_mut() = StatusCode::ACCEPTED;
        Ok(response)
    }
}

/// What the sender says to prove who it is. GitLab sends the id and time of the standard with every webhook, and its
/// signature where a signing token is set.
fn proof(headers: &HeaderMap) -> Proof<'_> {
    let header = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    let standard = || {
        Some(Standard {
            id: header("webhook-id")?,
            timestamp: header("webhook-timestamp")?,
            signatures: header("webhook-signature")?,
        })
    };
    Proof {
        token: header("x-gitlab-token"),
        hub: header("x-hub-signature-256"),
        standard: standard(),
    }
}

async fn read(body: Incoming) -> Result<Bytes, Reject> {
    match timeout(DEADLINE, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Reject::BodyTooLong { limit: MAX_BODY })
        }
        Ok(Err(_)) | Err(_) => Err(Reject::Malformed("the body does not arrive".to_owned())),
    }
}
