//! `POST /-/webhook/config`: GitLab or GitHub tells of a push, so that a configuration repository is read at once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::client::Client;
use super::limits::address::network;
use super::reject::Reject;
use super::request;
use crate::audit::{Ending, Record};
use crate::configrepo::webhook::{Error, Proof, Standard, Webhooks};

/// The endpoint, where any repository takes webhooks.
#[derive(Debug)]
pub struct Endpoint {
    webhooks: Webhooks,
    /// Bodies at a time, of those who have shown a secret.
    proved: Semaphore,
    /// Of those whose signature can be judged only with the body.
    unproved: Semaphore,
    /// How many of these each address has.
    senders: Mutex<HashMap<IpAddr, u32>>,
}

/// A place for a body, free again when dropped.
struct Place<'a> {
    endpoint: &'a Endpoint,
    _permit: SemaphorePermit<'a>,
    /// Where it counts.
    sender: Option<IpAddr>,
}

const PATH: &str = "/-/webhook/config";
/// GitHub sends up to 25 MB, of a push of thousands of commits; such a one is seen at the next poll.
const MAX_BODY: usize = 4 * 1024 * 1024;
const PLACES: usize = 16;
/// Of one address, before a body has proved anything: strangers must not keep webhooks out.
const PLACES_OF_ADDRESS: u32 = 2;
/// For a body to arrive.
const DEADLINE: Duration = Duration::from_secs(10);

impl Endpoint {
    pub fn new(webhooks: Webhooks) -> Self {
        Self {
            webhooks,
            proved: Semaphore::new(PLACES),
            unproved: Semaphore::new(PLACES),
            senders: Mutex::default(),
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
        let _place = self.place(&proof, client)?;
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

    /// Before the body: a token is judged at once, a signature must wait for it.
    fn place(&self, proof: &Proof<'_>, client: &Client) -> Result<Place<'_>, Reject> {
        if self.webhooks.knows(proof) {
            let permit = self.proved.try_acquire();
            return Ok(Place {
                endpoint: self,
                _permit: permit.map_err(|_| Reject::TooManyWebhooks)?,
                sender: None,
            });
        }
        if proof.hub.is_none() && proof.standard.is_none() {
            return Err(Reject::Unsigned(Error::Unsigned));
        }
        let sender = network(client.address.ip());
        let permit = self.unproved.try_acquire();
        let permit = permit.map_err(|_| Reject::TooManyWebhooks)?;
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = senders.entry(sender).or_default();
        if *taken == PLACES_OF_ADDRESS {
            return Err(Reject::TooManyWebhooks);
        }
        *taken += 1;
        Ok(Place {
            endpoint: self,
            _permit: permit,
            sender: Some(sender),
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(sender) = self.sender else { return };
        let senders = &self.endpoint.senders;
        let mut senders = senders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = senders.get_mut(&sender) {
            *taken -= 1;
            if *taken == 0 {
                senders.remove(&sender);
            }
        }
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
