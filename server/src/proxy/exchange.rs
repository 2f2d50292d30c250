//! A routed request and the head of its answer, or why there is none.

use std::sync::Arc;
use std::time::Duration;

use ci_tunnel::protocol::code::Code;
use ci_tunnel::protocol::head::{Cause, Failure, RequestHead, RequestKind};
use ci_tunnel::transport::stream;
use http::Method;
use hyper::body::Incoming;

use super::carried::Carried;
use super::live::Why;
use super::reject::Reject;
use super::{Permitted, Proxy, forward, live, request};
use crate::audit::Record;
use crate::routing::Route;

impl Proxy {
    /// Sends the request and waits for the head of its answer, unless it is cut before.
    pub(super) async fn forward(
        &self,
        head: RequestHead,
        body: Incoming,
        permitted: Permitted,
        route: Route,
        switch: hyper::upgrade::OnUpgrade,
        record: &Record,
    ) -> Result<Carried, Reject> {
        let agent = Arc::clone(&permitted.agent);
        let safe = is_safe(&head);
        let late = self.config.response_head_timeout;
        let session = Arc::clone(route.running.session());
        let rejected = |error| {
            if matches!(error, forward::Error::Timeout) {
                session.suspect();
            }
            forward_reject(error, agent.to_string(), safe, late)
        };
        let cut = permitted.live.request().cut();
        let upload = forward::Uploading {
            sent: record.sent(),
            cut: cut.clone(),
            pace: permitted.slots.pace(),
            stalled: self.config.stalled_upload,
        };
        let answer = async {
            let (sender, receiver) = (route.sender, route.receiver);
            let mut sent = forward::send(&head, body, sender, receiver, upload, late).await?;
            let response = sent.response(late).await?;
            Ok((sent, response))
        };
        let (sent, response) = tokio::select! {
            biased;
            () = cut.cancelled() => return Err(cut_reject(&permitted, safe)),
            answer = answer => answer.map_err(rejected)?,
        };
        let upgrade = match (&head.kind, &response.upgrade) {
            (_, None) => None,
            (RequestKind::Upgrade(asked), Some(got))
                if asked.as_bytes().eq_ignore_ascii_case(got.as_bytes()) =>
            {
                Some(switch)
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
}

/// Whether the same request a second time does no harm. An upgrade may start a command, also by GET.
fn is_safe(head: &RequestHead) -> bool {
    head.method.is_safe() && !matches!(head.kind, RequestKind::Upgrade(_))
}

/// Why a request that was cut gets no answer; `safe`: it may be repeated, or was not sent at all.
pub(super) fn cut_reject(permitted: &Permitted, safe: bool) -> Reject {
    match permitted.live.request().why() {
        Some(why) if why.label == live::RESTARTING && safe => Reject::ShuttingDown,
        Some(why) if why.label == live::RESTARTING => Reject::CutByRestart,
        // The job has lost nothing: the agent may have another session, or another token soon.
        Some(why) if why.label == live::AGENT_TOKEN => Reject::AgentLost {
            agent: permitted.agent.to_string(),
            safe,
        },
        why => Reject::Cut(why.unwrap_or_else(|| Why {
            label: "cut",
            message: String::new(),
        })),
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
        forward::Error::Stalled => Reject::StalledUpload { agent },
        forward::Error::TooLong => Reject::HeadTooLong {
            limit: request::MAX_HEAD,
        },
    }
}
