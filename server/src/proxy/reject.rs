//! Every refusal → status, Kubernetes `Status`, headers. The only file of the proxy that names a status code of ours.

use std::time::Duration;

use bytes::Bytes;
use ci_tunnel::kube;
use ci_tunnel::protocol::head::{Cause, Failure};
use ci_tunnel::runtime::causes::with_causes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};

use super::limits::Over;
use super::live::Why;
use crate::access::Denied;
use crate::agents::registry::Absent;
use crate::authn;
use crate::configrepo::webhook;
use crate::identity::Agent;

/// Why a request is not carried. The message of each is for the person who made the request.
#[derive(Debug, thiserror::Error)]
pub enum Reject {
    #[error("the request is malformed: {0}")]
    Malformed(String),
    #[error("the request's head is longer than {limit} bytes")]
    HeadTooLong { limit: usize },
    #[error("{0}")]
    Unauthenticated(authn::Error),
    /// The same for an agent that does not exist and one that the job may not use.
    #[error("this job may not use agent {agent}: {denied}")]
    Denied { agent: String, denied: Denied },
    #[error(
        "this job may not use agent {agent}: no rule of its configuration allows it, or there is no such agent here"
    )]
    NoAgent { agent: String },
    /// The same words, for an agent that there is.
    #[error("{}", Self::NoAgent { agent: agent.id.to_string() })]
    Secret { agent: Agent, denied: Denied },
    #[error(
        "impersonation (kubectl --as) is allowed only where the agent's configuration says `access_as: agent`; \
         this job runs as {identity}"
    )]
    ImpersonationNotAllowed { identity: String },
    #[error("{0}")]
    Forbidden(String),
    /// A webhook of a stranger.
    #[error("{0}")]
    Unsigned(webhook::Error),
    #[error("too many webhooks at a time; the change is seen later")]
    TooManyWebhooks,
    #[error("the request's body is longer than {limit} bytes")]
    BodyTooLong { limit: usize },
    #[error("too many requests: {0}; try again in {secs}s", secs = seconds(.0.retry_after))]
    TooManyRequests(Over),
    #[error("agent {agent} {}", away(absent))]
    AgentAway { agent: String, absent: Absent },
    #[error(
        "agent {agent} takes no more requests: the limit of streams on its connections is reached"
    )]
    NoStream { agent: String },
    #[error("agent {agent}: {}", failure.message)]
    Agent { agent: String, failure: Failure },
    #[error("the connection to agent {agent} was lost before an answer; the request was not repeated{}",
        if *safe { "" } else { ", and it may or may not have been carried out" })]
    AgentLost { agent: String, safe: bool },
    #[error("agent {agent} answered with bytes that are not the protocol's")]
    AgentBroken { agent: String },
    #[error("no answer from the API server of agent {agent} within {}s", after.as_secs())]
    NoAnswer { agent: String, after: Duration },
    #[error(
        "nothing behind agent {agent} took any more of the request's body for too long (timeouts.stalled_upload)"
    )]
    StalledUpload { agent: String },
    #[error("this request was ended: {}", .0.message)]
    Cut(Why),
    #[error("this server is shutting down; try again")]
    ShuttingDown,
    /// Sent already, and not safe to repeat.
    #[error(
        "this server is shutting down; the request was not repeated, and it may or may not have been carried out"
    )]
    CutByRestart,
    #[error("this server can not write its audit log, and is set to refuse requests until it can")]
    AuditUnavailable,
}

/// What a refusal is to HTTP, to Kubernetes clients and to metrics.
struct Form {
    code: StatusCode,
    label: &'static str,
    retry_after: Option<Duration>,
}

impl Reject {
    /// A denial by the rules. One whose rules do not name the job's project is told as an agent that does not exist.
    pub fn denied(agent: &Agent, denied: Denied) -> Self {
        if denied.is_secret() {
            Self::Secret {
                agent: agent.clone(),
                denied,
            }
        } else {
            Self::Denied {
                agent: agent.to_string(),
                denied,
            }
        }
    }

    /// Whether it is the request's own fault, whoever sent it.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::Unauthenticated(error) => error.retry_after().is_none(),
            Self::Malformed(_)
            | Self::HeadTooLong { .. }
            | Self::BodyTooLong { .. }
            | Self::Unsigned(_) => true,
            _ => false,
        }
    }

    /// What the operator is told, in log and audit: also what is a secret to whoever made the request.
    pub fn in_full(&self) -> String {
        match self {
            Self::Secret { agent, denied } => Self::Denied {
                agent: agent.to_string(),
                denied: denied.clone(),
            }
            .to_string(),
            Self::Unauthenticated(error) => with_causes(error),
            _ => self.to_string(),
        }
    }

    /// The name in metrics and audit.
    pub fn label(&self) -> &'static str {
        self.form().label
    }

    pub fn status(&self) -> StatusCode {
        self.form().code
    }

    /// The refusal as a response: a `Status`, or only its words `as_text`.
    pub fn response(&self, request_id: &str, as_text: bool) -> Response<Bytes> {
        let form = self.form();
        let retry_after = form.retry_after.map(seconds);
        let mut status =
            kube::Status::new(form.code, format!("ci-tunnel: {self}")).request_id(request_id);
        if let Some(seconds) = retry_after {
            status = status.retry_after(seconds);
        }
        let (body, content_type) = if as_text {
            (status.to_text().into_bytes(), "text/plain; charset=utf-8")
        } else {
            (status.to_json(), kube::Status::CONTENT_TYPE)
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = form.code;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        match self {
            Self::Unauthenticated(_) if form.code == StatusCode::UNAUTHORIZED => {
                headers.insert(
                    WWW_AUTHENTICATE,
                    HeaderValue::from_static("Bearer realm=\"ci-tunnel\""),
                );
            }
            // What is left of such a request can not be trusted to begin where we think.
            Self::Malformed(_) | Self::HeadTooLong { .. } | Self::BodyTooLong { .. } => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }

    fn form(&self) -> Form {
        let form = |code, label| Form {
            code,
            label,
            retry_after: None,
        };
        let again = |label| Form {
            code: StatusCode::SERVICE_UNAVAILABLE,
            label,
            retry_after: Some(Duration::from_secs(1)),
        };
        match self {
            Self::Malformed(_) => form(StatusCode::BAD_REQUEST, "malformed"),
            Self::HeadTooLong { .. } => {
                form(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_long")
            }
            // The credential may be good: nobody could be asked.
            Self::Unauthenticated(error) => match error.retry_after() {
                Some(retry_after) => Form {
                    retry_after: Some(retry_after),
                    ..again("authn_unavailable")
                },
                None => form(StatusCode::UNAUTHORIZED, "unauthenticated"),
            },
            Self::Denied { .. } | Self::NoAgent { .. } | Self::Secret { .. } => {
                form(StatusCode::FORBIDDEN, "denied")
            }
            Self::ImpersonationNotAllowed { .. } => form(StatusCode::FORBIDDEN, "impersonation"),
            Self::Forbidden(_) => form(StatusCode::FORBIDDEN, "forbidden"),
            Self::Unsigned(_) => form(StatusCode::UNAUTHORIZED, "webhook"),
            Self::TooManyWebhooks => Form {
                code: StatusCode::TOO_MANY_REQUESTS,
                ..again("too_many_webhooks")
            },
            Self::BodyTooLong { .. } => form(StatusCode::PAYLOAD_TOO_LARGE, "body_too_long"),
            Self::TooManyRequests(over) => Form {
                code: StatusCode::TOO_MANY_REQUESTS,
                label: "too_many_requests",
                retry_after: Some(over.retry_after),
            },
            Self::AgentAway { .. } => again("agent_away"),
            Self::NoStream { .. } => again("no_stream"),
            Self::Agent { failure, .. } => agent_failure(failure.cause),
            // client-go repeats whatever carries Retry-After, so only what is safe to repeat does.
            Self::AgentLost { safe: true, .. } => again("agent_lost"),
            Self::AgentLost { safe: false, .. } => form(StatusCode::BAD_GATEWAY, "agent_lost"),
            Self::AgentBroken { .. } => form(StatusCode::BAD_GATEWAY, "agent_broken"),
            Self::NoAnswer { .. } => form(StatusCode::GATEWAY_TIMEOUT, "no_answer"),
            Self::StalledUpload { .. } => form(StatusCode::GATEWAY_TIMEOUT, "stalled_upload"),
            Self::Cut(_) => form(StatusCode::FORBIDDEN, "cut"),
            Self::ShuttingDown => again("shutting_down"),
            Self::CutByRestart => form(StatusCode::SERVICE_UNAVAILABLE, "shutting_down"),
            Self::AuditUnavailable => again("audit"),
        }
    }
}

fn agent_failure(cause: Cause) -> Form {
    let (code, label) = match cause {
        Cause::Unreachable => (StatusCode::BAD_GATEWAY, "upstream_unreachable"),
        Cause::Untrusted => (StatusCode::BAD_GATEWAY, "upstream_untrusted"),
        Cause::BadUpgrade => (StatusCode::BAD_GATEWAY, "upstream_bad_upgrade"),
        Cause::Credentials => (StatusCode::BAD_GATEWAY, "upstream_credentials"),
        Cause::Internal => (StatusCode::BAD_GATEWAY, "agent_internal"),
        Cause::Refused => (StatusCode::BAD_REQUEST, "agent_refused"),
        Cause::Timeout => (StatusCode::GATEWAY_TIMEOUT, "no_answer"),
        Cause::Busy => (StatusCode::SERVICE_UNAVAILABLE, "agent_busy"),
    };
    let retry_after = (cause == Cause::Busy).then_some(Duration::from_secs(1));
    Form {
        code,
        label,
        retry_after,
    }
}

/// Whole seconds, so that whoever waits for them does not come too early.
fn seconds(after: Duration) -> u32 {
    let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

fn away(absent: &Absent) -> String {
    if absent.draining {
        return "is shutting down, and no other instance of it is connected".to_owned();
    }
    let since = absent
        .since
        .and_then(|since| jiff::Timestamp::try_from(since).ok());
    let since = match since {
        Some(since) => format!("since {since:.0}"),
        None => "not seen since this server started".to_owned(),
    };
    format!("is not connected ({since}); is it running, and can it reach this server?")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::AgentId;

    #[test]
    fn a_job_learns_nothing_of_agents_that_are_none_of_its() {
        let agent = Agent {
            id: AgentId(7),
            project: "secret/infra".parse().unwrap(),
            name: "prod".parse().unwrap(),
        };
        let nobody = Reject::NoAgent {
            agent: "7".to_owned(),
        };
        let denied = Denied::OtherConfigProject {
            agent: agent.id,
            theirs: "acme/infra".parse().unwrap(),
            ours: agent.project.clone(),
        };
        let secret = Reject::denied(&agent, denied);
        assert_eq!(secret.to_string(), nobody.to_string());
        assert_eq!(secret.label(), nobody.label());
        for word in ["secret/infra:prod", "registered here"] {
            assert!(secret.in_full().contains(word), "{}", secret.in_full());
        }
    }
}
