//! What the running server says of itself on its ops port, when it can be reached.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ci_tunnel::config::value::duration;
use http::header::HOST;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::source::Source;
use crate::identity::{Agent, AgentId};

/// The part of `/status` that matters here.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    agents: Vec<AgentStatus>,
}

#[derive(Debug, Deserialize)]
struct AgentStatus {
    id: AgentId,
    connected: bool,
    configuration: Option<Configuration>,
}

#[derive(Debug, Deserialize)]
struct Configuration {
    revision: String,
}

/// It is on this machine; one that does not answer at once is left out.
const PATIENCE: Duration = Duration::from_secs(1);
const MAX_PAGE: usize = 64 << 20;

impl Status {
    /// `None` when no server runs there.
    pub(super) async fn ask(listen: SocketAddr) -> Option<Self> {
        let page = timeout(PATIENCE, get(reachable(listen))).await.ok()??;
        serde_json::from_slice(&page).ok()
    }

    /// What differs there from what is explained here.
    pub(super) fn notes(&self, agent: &Agent, source: &Source, hold: Duration) -> Vec<String> {
        let Some(there) = self.agents.iter().find(|there| there.id == agent.id) else {
            return Vec::new();
        };
        let mut notes = Vec::new();
        if !there.connected {
            let hold = duration::format(hold);
            notes.push(format!(
                "the agent is not connected to the running server: requests wait {hold} for it, then they are refused \
                 with 503"
            ));
        }
        let revision = there.configuration.as_ref().map(|there| &there.revision);
        if source.is_in_force() && revision != source.revision.as_ref() {
            let name = |revision: Option<&String>| match revision {
                Some(revision) if !revision.is_empty() => format!("revision {revision}"),
                Some(_) => "no good version".to_owned(),
                None => "no file".to_owned(),
            };
            notes.push(format!(
                "the running server has {} in force, and this explains {}",
                name(revision),
                name(source.revision.as_ref())
            ));
        }
        notes
    }
}

/// Where something that listens on every address is reached from here.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    match listen {
        SocketAddr::V4(address) if address.ip().is_unspecified() => {
            listen.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        SocketAddr::V6(address) if address.ip().is_unspecified() => {
            listen.set_ip(Ipv6Addr::LOCALHOST.into());
        }
        _ => {}
    }
    listen
}

async fn get(address: SocketAddr) -> Option<Bytes> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = http::Request::get("/status").header(HOST, address.to_string());
    let response = sender
        .send_request(request.body(Empty::<Bytes>::new()).ok()?)
        .await
        .ok()
        .filter(|response| response.status().is_success())?;
    let body = Limited::new(response.into_body(), MAX_PAGE).collect().await;
    Some(body.ok()?.to_bytes())
}
