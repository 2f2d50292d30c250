//! The Kubernetes API front: one request from its first byte to its last, a phase a line.
//!
//! Each phase ends in a value that the next one needs, or in a [`Reject`]. Nothing can be forwarded without a
//! [`Permit`], and only the decision makes one.

pub mod body;
mod carried;
pub mod client;
mod decided;
mod exchange;
pub mod forward;
pub mod front;
pub mod judge;
pub mod kubeconfig;
pub mod limits;
pub mod live;
pub mod reject;
pub mod request;
pub mod stalled;
pub mod strangers;
pub mod upgrade;
pub mod webhook;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ci_tunnel::protocol::head::RequestHead;
use ci_tunnel::protocol::identity::KubernetesIdentity;
use ci_tunnel::runtime::drain;
use http::header::USER_AGENT;
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use tokio::sync::watch;

use crate::access::{AccessAs, Permit};
use crate::agents::directory::Directory;
use crate::audit::{Audit, Ending, Record};
use crate::authn::{self, Authenticator, Credential, TokenId};
use crate::configrepo::Snapshot;
use crate::identity::{Agent, AgentId};
use crate::kubeconfig::Cluster;
use crate::metrics::{Metrics, ReasonLabels};
use crate::routing::{self, Route, Router};
use body::Body;
use carried::Carried;
use client::Client;
use exchange::cut_reject;
use limits::Limits;
pub use limits::Slots;
use live::Live;
use reject::Reject;
use request::Target;

/// What the front needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Begins every path; `/` for none.
    pub url_path_prefix: String,
    /// For a response head, counted from the end of the request's body.
    pub response_head_timeout: Duration,
    /// How long nobody may take a byte of an upload; zero: for ever.
    pub stalled_upload: Duration,
}

/// Everything that a request meets on its way.
#[derive(Debug)]
pub struct Proxy {
    pub config: Config,
    pub authenticator: Arc<Authenticator>,
    pub directory: Directory,
    pub rules: watch::Receiver<Arc<Snapshot>>,
    pub webhooks: webhook::Endpoint,
    pub router: Router,
    pub limits: Limits,
    pub live: Live,
    pub audit: Audit,
    pub metrics: Metrics,
    /// What KUBECONFIGs say of this server.
    pub cluster: Cluster,
    /// Held by upgraded connections, which outlive the HTTP connection they came on.
    pub drain: drain::Watcher,
}

/// A request that may run.
struct Permitted {
    agent: Arc<Agent>,
    live: live::Guard,
    slots: Slots,
}

impl Proxy {
    /// Answers one request of a client.
    pub async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        client: Arc<Client>,
    ) -> Response<Body> {
        let for_kubeconfig = kubeconfig::is_asked(&request, &self.config.url_path_prefix);
        let as_text = if for_kubeconfig {
            kubeconfig::wants_text(&request)
        } else {
            request::is_discovery(&request, &self.config.url_path_prefix)
        };
        if let Err(over) = client.may_ask() {
            return self.not_heard(&client, over, as_text);
        }
        let mut record = self.audit.open(request_id(), Some(client.address));
        let user_agent = request
            .headers()
            .get(USER_AGENT)
            .and_then(|value| value.to_str().ok());
        record.request(request.method(), request.uri().path(), user_agent);
        let answer = if !record.may_run() {
            Err(Reject::AuditUnavailable)
        } else if for_kubeconfig {
            Box::pin(kubeconfig::answer(&self, &request, &client, &mut record)).await
        } else if self
            .webhooks
            .is_asked(&request, &self.config.url_path_prefix)
        {
            Box::pin(self.webhooks.answer(request, &client, &mut record)).await
        } else {
            match self.carry(request, &client, &mut record).await {
                Ok(carried) => return carried.finish(record),
                Err(reject) => Err(reject),
            }
        };
        if let Err(reject) = &answer
            && record.may_run()
            && !client.refused(reject.is_fault())
        {
            record.leave_unsaid();
        }
        let response = answer.unwrap_or_else(|reject| self.refuse(&reject, as_text, &mut record));
        record.status(response.status().as_u16());
        response.map(|bytes| {
            record.received(bytes.len() as u64);
            Body::whole(bytes, Some(record))
        })
    }

    /// The way of a request that reaches an API server.
    async fn carry(
        &self,
        mut request: Request<Incoming>,
        client: &Client,
        record: &mut Record,
    ) -> Result<Carried, Reject> {
        let (target, attributes) = Target::of(&request, &self.config.url_path_prefix)?;
        record.attributes(attributes);
        let credential = Credential::from_headers(request.headers()).map_err(authn::Error::from)?;
        let who = self.authenticator.authenticate(&credential).await?;
        client.authenticated();
        let parents = who.parents.iter().map(TokenId::as_str);
        record.job(&who.identity, who.token.as_str(), parents);
        let asked = request::asked_identity(request.headers())?;
        let (permitted, identity) = self.permit(client, &credential, who, asked, record)?;
        let route = self.route(&permitted, record).await?;
        let switch = hyper::upgrade::on(&mut request);
        let (parts, body) = request.into_parts();
        let head = request_head(
            target,
            parts.headers,
            permitted.agent.id,
            identity,
            record.request_id(),
        );
        self.forward(head, body, permitted, route, switch, record)
            .await
    }

    async fn route(&self, permitted: &Permitted, record: &mut Record) -> Result<Route, Reject> {
        let cut = permitted.live.request().cut();
        let agent = || permitted.agent.to_string();
        let route = tokio::select! {
            biased;
            () = cut.cancelled() => return Err(cut_reject(permitted, true)),
            route = self.router.open(permitted.agent.id) => route,
        };
        let route = route.map_err(|error| match error {
            routing::Error::Absent(absent) => Reject::AgentAway {
                agent: agent(),
                absent,
            },
            routing::Error::NoStream => Reject::NoStream { agent: agent() },
        })?;
        permitted
            .live
            .request()
            .carried_by(route.session, route.sender.id());
        record.session(route.session);
        Ok(route)
    }

    fn refuse(&self, reject: &Reject, as_text: bool, record: &mut Record) -> Response<Bytes> {
        let (label, in_full) = (reject.label(), reject.in_full());
        self.count(reject);
        if record.is_said() {
            tracing::info!(
                request.id = record.request_id(),
                reason = label,
                code = reject.status().as_u16(),
                "{in_full}"
            );
        }
        let message = Some(in_full);
        match reject {
            Reject::Cut(why) => record.cut(why.label, why.code(), message),
            _ => record.end(Ending::Refused(label.into()), message),
        }
        reject.response(record.request_id(), as_text)
    }

    fn count(&self, reject: &Reject) {
        let reason = reject.label();
        let refusals = &self.metrics.refusals;
        refusals.get_or_create(&ReasonLabels { reason }).inc();
    }
}

fn request_head(
    target: Target,
    mut headers: HeaderMap,
    agent: AgentId,
    identity: KubernetesIdentity,
    request_id: &str,
) -> RequestHead {
    request::clean(&mut headers);
    RequestHead {
        agent: agent.0,
        request_id: request_id.to_owned(),
        method: target.method,
        target: target.target,
        headers,
        kind: target.kind,
        identity,
    }
}

/// The permit's identity, or under `access_as: agent` the one the client asked for.
fn effective_identity(
    permit: &Permit,
    asked: Option<KubernetesIdentity>,
) -> Result<KubernetesIdentity, Reject> {
    match (asked, permit.identity()) {
        (None, identity) => Ok(identity.clone()),
        (Some(asked), KubernetesIdentity::Agent) if permit.access_as() == AccessAs::Agent => {
            Ok(asked)
        }
        (Some(_), KubernetesIdentity::Impersonate(who)) => Err(Reject::ImpersonationNotAllowed {
            identity: who.username.clone(),
        }),
        (Some(_), KubernetesIdentity::Agent) => Err(Reject::ImpersonationNotAllowed {
            identity: "the agent".to_owned(),
        }),
    }
}

/// Sixty-four random bits: enough to find a request in logs, short enough to read aloud.
fn request_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

impl From<limits::Over> for Reject {
    fn from(over: limits::Over) -> Self {
        Self::TooManyRequests(over)
    }
}

impl From<authn::Error> for Reject {
    fn from(error: authn::Error) -> Self {
        Self::Unauthenticated(error)
    }
}
