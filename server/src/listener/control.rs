//! The control stream of an admitted agent, from welcome to the end of its session.

use std::time::Duration;

use ci_tunnel::protocol::code::Code;
use ci_tunnel::protocol::control::{Configure, Message};
use ci_tunnel::transport::stream::{self, Receiver, Sender};

use super::Listener;
use super::admit::{Admitted, read, send};
use crate::agents::Session;
use crate::identity::Agent;

/// Pings that measure the path and prove that the agent's program, not only its kernel, is alive.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// Control streams are served before requests.
const PRIORITY: i32 = 100;

/// Serves the session until it ends.
pub(super) async fn run(listener: &Listener, admitted: Admitted) {
    let Admitted {
        session,
        agent,
        sender,
        receiver,
    } = admitted;
    sender.set_priority(PRIORITY);
    tracing::info!(
        agent.id = agent.id.0,
        %agent,
        version = session.hello.version,
        pod = session.hello.pod,
        kubernetes = session.hello.kubernetes_version,
        "agent connected"
    );
    let registered = listener.registry.register(std::sync::Arc::clone(&session));
    let (code, reason) = match talk(listener, &session, &agent, sender, receiver).await {
        Ok(()) => (Code::Done, "the agent closed its control stream".to_owned()),
        Err(stream::Error::Malformed(error)) => (Code::Protocol, error.to_string()),
        Err(error) => (Code::Done, error.to_string()),
    };
    // No new request may find the session once it is being closed.
    drop(registered);
    session.close(code, &reason);
    tracing::info!(agent.id = agent.id.0, %agent, reason, "agent disconnected");
}

async fn talk(
    listener: &Listener,
    session: &Session,
    agent: &Agent,
    mut sender: Sender,
    mut receiver: Receiver,
) -> Result<(), stream::Error> {
    let mut rules = listener.rules.clone();
    let mut configured = Configure::default();
    let mut pings = tokio::time::interval(PING_INTERVAL);
    let mut sequence = 0;
    let mut told = false;
    loop {
        configured = configure(agent, &mut rules, &mut sender, configured).await?;
        // `read` keeps what it has in the receiver, so losing the race loses nothing.
        tokio::select! {
            message = read(&mut receiver) => match message? {
                Some(message) => on_message(session, &mut sender, message).await?,
                None => return Ok(()),
            },
            _ = pings.tick() => {
                sequence += 1;
                send(&mut sender, &Message::Ping(sequence)).await?;
            }
            changed = rules.changed() => if changed.is_err() {
                return Ok(());
            },
            () = listener.drain.draining(), if !told => {
                told = true;
                // The session stays in use: requests that were accepted before the drain have nobody else.
                send(&mut sender, &Message::Drain { grace: listener.drain_grace }).await?;
            }
        }
    }
}

/// Sends the settings of the agent's configuration file when they are others than those sent last.
async fn configure(
    agent: &Agent,
    rules: &mut tokio::sync::watch::Receiver<std::sync::Arc<crate::configrepo::Snapshot>>,
    sender: &mut Sender,
    sent: Configure,
) -> Result<Configure, stream::Error> {
    let in_force = rules.borrow_and_update().in_force(agent);
    let log_level = in_force.log_level().map(|level| level.as_str().to_owned());
    let wanted = Configure { log_level };
    if wanted != sent {
        send(sender, &Message::Configure(wanted.clone())).await?;
    }
    Ok(wanted)
}

async fn on_message(
    session: &Session,
    sender: &mut Sender,
    message: Message,
) -> Result<(), stream::Error> {
    match message {
        Message::Ping(sequence) => send(sender, &Message::Pong(sequence)).await?,
        Message::Drain { grace } => {
            tracing::info!(
                agent.id = session.agent.0,
                grace = grace.as_secs(),
                "the agent drains"
            );
            session.drain();
        }
        Message::Health(health) => {
            if health.ready != session.health().ready {
                tracing::info!(
                    agent.id = session.agent.0,
                    ready = health.ready,
                    message = health.message,
                    "API server health"
                );
            }
            session.set_health(health);
        }
        // The rest is ours to send; a pong is proof enough by having come.
        Message::Pong(_)
        | Message::Hello(_)
        | Message::Welcome(_)
        | Message::Refused(_)
        | Message::Configure(_) => {}
    }
    Ok(())
}
