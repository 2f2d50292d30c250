//! The Kubernetes API front: one request from its first byte to its last, a phase a line.
//!
//! Each phase ends in a value that the next one needs, or in a [`Reject`]. Nothing can be forwarded without a
//! [`Permit`], and only the decision makes one.

pub mod body;
mod carried;
pub mod forward;
pub mod front;
pub mod kubeconfig;
pub mod limits;
pub mod live;
pub mod reject;
pub mod request;
pub mod upgrade;
pub mod webhook;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ci_tunnel::protocol::code::Code;
use ci_tunnel::protocol::head::{Cause, Failure, RequestHead, RequestKind};
use ci_tunnel::protocol::identity::KubernetesIdentity;
use ci_tunnel::runtime::drain;
use ci_tunnel::transport::stream;
use http::header::USER_AGENT;
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use tokio::sync::watch;

use crate::access::{self, AccessAs, Permit};
use crate::agents::directory::Directory;
use crate::audit::{Audit, Ending, Record};
use crate::authn::{self, Authenticated, Authenticator, Credential};
use crate::configrepo::Snapshot;
use crate::identity::{Agent, AgentId};
use crate::kubeconfig::Cluster;
use crate::metrics::{Metrics, ReasonLabels};
use crate::routing::{self, Route, Router};
use body::Body;
use carried::Carried;
use limits::Limits;
pub use limits::Slots;
use live::{Live, Why};
use reject::Reject;
use request::Target;

/// What the front needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Begins every path; `/` for none.
    pub url_path_prefix: String,
    /// For a response head, counted from the end of the request's body.
    pub response_head_timeout: Duration,
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
        client: SocketAddr,
    ) -> Response<Body> {
        let mut record = self.audit.open(request_id(), Some(client));
        let user_agent = request
            .headers()
            .get(USER_AGENT)
            .and_then(|value| value.to_str().ok());
        record.request(request.method(), request.uri().path(), user_agent);
        let as_text = request::is_discovery(&request, &self.config.url_path_prefix);
        let answer = if kubeconfig::is_asked(&request, &self.config.url_path_prefix) {
            kubeconfig::answer(&self, &request, &mut record).await
        } else if self
            .webhooks
            .is_asked(&request, &self.config.url_path_prefix)
        {
            self.webhooks.answer(request, &mut record).await
        } else {
            match self.carry(request, &mut record).await {
                Ok(carried) => return carried.finish(record),
                Err(reject) => Err(reject),
            }
        };
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
        record: &mut Record,
    ) -> Result<Carried, Reject> {
        let target = Target::of(&request, &self.config.url_path_prefix)?;
        record.attributes(&target.attributes);
        let credential = Credential::from_headers(request.headers()).map_err(authn::Error::from)?;
        let who = self.authenticate(&credential).await?;
        record.job(&who.identity, who.token.as_str());
        let asked = request::asked_identity(request.headers())?;
        let (permitted, identity) = self.permit(&credential, who, asked, record)?;
        let route = self.route(&permitted, record).await?;
        let client = hyper::upgrade::on(&mut request);
        let (parts, body) = request.into_parts();
        let head = request_head(
            target,
            parts.headers,
            permitted.agent.id,
            identity,
            record.request_id(),
        );
        self.forward(head, body, permitted, route, client, record)
            .await
    }

    async fn authenticate(&self, credential: &Credential) -> Result<Arc<Authenticated>, Reject> {
        if !self.audit.permits_requests() {
            return Err(Reject::AuditUnavailable);
        }
        Ok(self.authenticator.authenticate(credential).await?)
    }

    /// Decides whether the job may use the agent, and as whom; from here on the request is judged again whenever
    /// something changes.
    fn permit(
        &self,
        credential: &Credential,
        who: Arc<Authenticated>,
        asked: Option<KubernetesIdentity>,
        record: &mut Record,
    ) -> Result<(Permitted, KubernetesIdentity), Reject> {
        let no_agent = || Reject::NoAgent {
            agent: credential.agent.to_string(),
        };
        let agent = self.directory.get(credential.agent).ok_or_else(no_agent)?;
        let rules = Arc::clone(&self.rules.borrow());
        let permit =
            access::decide(&who.identity, &agent, &rules.in_force(&agent)).map_err(|denied| {
                match denied {
                    access::Denied::NotNamed { .. } => no_agent(),
                    denied => Reject::Denied {
                        agent: agent.to_string(),
                        denied,
                    },
                }
            })?;
        record.agent(&agent);
        let identity = effective_identity(&permit, asked)?;
        record.permit(permit.rule().to_string(), &identity);
        let slots = self.limits.admit(&who)?;
        let live = self.live.add(who, Arc::clone(&agent), permit);
        // Whatever changed before the request was among the running ones is seen here, what changes later by whoever
        // judges those.
        let changed = !Arc::ptr_eq(&rules, &self.rules.borrow());
        if (changed || live.request().who.still_valid().is_err())
            && let Some(why) = self.judge(live.request())
        {
            return Err(Reject::Cut(why.message));
        }
        let permitted = Permitted { agent, live, slots };
        Ok((permitted, identity))
    }

    /// Why a running request may not go on; `None` if it may.
    pub fn judge(&self, request: &live::Request) -> Option<Why> {
        match request.who.still_valid() {
            // A credential must be good when a request begins; that it ends with time does not end what runs.
            Ok(()) | Err(authn::Error::Expired) => {}
            Err(error) => {
                return Some(Why {
                    label: "token",
                    message: error.to_string(),
                });
            }
        }
        if self.directory.get(request.agent.id).is_none() {
            return Some(Why {
                label: "agent_deleted",
                message: format!("agent {} was deleted", request.agent),
            });
        }
        let rules = self.rules.borrow().in_force(&request.agent);
        match access::decide(&request.who.identity, &request.agent, &rules) {
            Ok(permit) if permit.identity() == request.permit.identity() => None,
            Ok(_) => Some(Why {
                label: "identity",
                message: format!(
                    "agent {}'s configuration gives this job another identity now",
                    request.agent
                ),
            }),
            Err(denied) => Some(Why {
                label: "rules",
                message: denied.to_string(),
            }),
        }
    }

    async fn route(&self, permitted: &Permitted, record: &mut Record) -> Result<Route, Reject> {
        let cut = permitted.live.cut();
        let agent = || permitted.agent.to_string();
        tokio::select! {
            biased;
            route = self.router.open(permitted.agent.id) => {
                let route = route.map_err(|error| match error {
                    routing::Error::Absent { since } => Reject::AgentAway { agent: agent(), since },
                    routing::Error::NoStream => Reject::NoStream { agent: agent() },
                })?;
                record.session(route.session);
                Ok(route)
            }
            () = cut.cancelled() => Err(cut_reject(&permitted.live)),
        }
    }

    async fn forward(
        &self,
        head: RequestHead,
        body: Incoming,
        permitted: Permitted,
        route: Route,
        client: hyper::upgrade::OnUpgrade,
        record: &Record,
    ) -> Result<Carried, Reject> {
        let agent = Arc::clone(&permitted.agent);
        let safe = is_safe(&head);
        let late = self.config.response_head_timeout;
        let rejected = |error| forward_reject(error, agent.to_string(), safe, late);
        let cut = permitted.live.cut();
        let upload = forward::Uploading {
            sent: record.sent(),
            cut: cut.clone(),
        };
        let mut sent = forward::send(&head, body, route.sender, route.receiver, upload)
            .await
            .map_err(rejected)?;
        let response = tokio::select! {
            biased;
            response = sent.response(late) => response.map_err(rejected)?,
            () = cut.cancelled() => return Err(match cut_reject(&permitted.live) {
                Reject::ShuttingDown if !safe => Reject::CutByRestart,
                reject => reject,
            }),
        };
        let upgrade = match (&head.kind, &response.upgrade) {
            (_, None) => None,
            (RequestKind::Upgrade(asked), Some(got))
                if asked.as_bytes().eq_ignore_ascii_case(got.as_bytes()) =>
            {
                Some(client)
            }
            _ => {
                return Err(Reject::AgentBroken {
                    agent: agent.to_string(),
                });
            }
        };
        let head_only = head.method == Method::HEAD;
        Ok(Carried {
            response,
            sent,
            permitted,
            running: route.running,
            upgrade,
            head_only,
            drain: self.drain.clone(),
        })
    }

    fn refuse(&self, reject: &Reject, as_text: bool, record: &mut Record) -> Response<Bytes> {
        let label = reject.label();
        self.metrics
            .refusals
            .get_or_create(&ReasonLabels { reason: label })
            .inc();
        tracing::info!(
            request.id = record.request_id(),
            reason = label,
            code = reject.status().as_u16(),
            "{reject}"
        );
        record.end(Ending::Refused(label), Some(reject.to_string()));
        reject.response(record.request_id(), as_text)
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

/// Whether the same request a second time does no harm. An upgrade may start a command, also by GET.
fn is_safe(head: &RequestHead) -> bool {
    head.method.is_safe() && !matches!(head.kind, RequestKind::Upgrade(_))
}

fn cut_reject(live: &live::Guard) -> Reject {
    match live.why() {
        Some(why) if why.label == live::RESTARTING => Reject::ShuttingDown,
        why => Reject::Cut(why.map(|why| why.message).unwrap_or_default()),
    }
}

fn forward_reject(error: forward::Error, agent: String, safe: bool, after: Duration) -> Reject {
    match error {
        forward::Error::Failure(failure) => Reject::Agent { agent, failure },
        forward::Error::Lost(stream::Error::Reset(Code::UpstreamBroken)) => {
            // The agent had begun to answer; the reset overtook the head.
            let message = format!("{}, before its answer was here", Code::UpstreamBroken);
            Reject::Agent {
                agent,
                failure: Failure {
                    cause: Cause::Unreachable,
                    message,
                },
            }
        }
        forward::Error::Lost(stream::Error::Reset(Code::Protocol)) => Reject::AgentBroken { agent },
        forward::Error::Lost(_) => Reject::AgentLost { agent, safe },
        forward::Error::Protocol => Reject::AgentBroken { agent },
        forward::Error::Timeout => Reject::NoAnswer { agent, after },
        forward::Error::TooLong => Reject::HeadTooLong {
            limit: request::MAX_HEAD,
        },
    }
}

/// Sixty-four random bits: enough to find a request in logs, short enough to read aloud.
fn request_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

impl From<authn::Error> for Reject {
    fn from(error: authn::Error) -> Self {
        Self::Unauthenticated(error)
    }
}
