//! The control stream of an admitted agent, from welcome to the end of its session.

use std::sync::Arc;
use std::time::Duration;

use ci_tunnel::protocol::code::Code;
use ci_tunnel::protocol::control::{Configure, Message};
use ci_tunnel::transport::stream::{self, Receiver, Sender};
use tokio::sync::watch;

use super::Listener;
use super::admit::{Admitted, read, send};
use super::pings::{self, Due, Pings};
use super::probe::Probes;
use crate::agents::Session;
use crate::agents::standing::Trouble;
use crate::audit::event::What;
use crate::configrepo::Snapshot;
use crate::identity::Agent;

/// How long an agent that only looks may stay.
const LOOK: Duration = Duration::from_secs(10);
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
    if session.hello.probe {
        return let_look(&session, &agent).await;
    }
    tracing::info!(
        agent.id = agent.id.0,
        %agent,
        version = session.hello.version,
        pod = session.hello.pod,
        kubernetes = session.hello.kubernetes_version,
        "agent connected"
    );
    listener.audit.event(What::AgentConnected {
        agent: (&agent).into(),
        session: session.id,
        client: session.remote_address(),
        version: session.hello.version.clone(),
        pod: session.hello.pod.clone(),
    });
    let registered = listener.registry.register(Arc::clone(&session));
    let (code, reason) = match talk(listener, &session, &agent, sender, receiver).await {
        Ok(End::Closed) => (Code::Done, "the agent closed its control stream".to_owned()),
        Ok(End::Silent) => {
            let reason = "silent, and the agent has a newer session";
            (Code::Unhealthy, reason.to_owned())
        }
        Err(stream::Error::Malformed(error)) => (Code::Protocol, error.to_string()),
        Err(error) => (Code::Done, error.to_string()),
    };
    // No new request may find the session once it is being closed.
    drop(registered);
    session.close(code, &reason);
    tracing::info!(agent.id = agent.id.0, %agent, reason, "agent disconnected");
    listener.audit.event(What::AgentDisconnected {
        agent: (&agent).into(),
        session: session.id,
        code: code.name().to_owned(),
        reason,
    });
}

/// Requests must not find it: it leaves as soon as it knows that it was admitted.
async fn let_look(session: &Session, agent: &Agent) {
    tracing::info!(agent.id = agent.id.0, %agent, "an agent asked whether it would be admitted");
    let _ = tokio::time::timeout(LOOK, session.connection().closed()).await;
    session.close(Code::Done, "the check is over");
}

/// Why there is nothing more to say.
enum End {
    Closed,
    Silent,
}

async fn talk(
    listener: &Listener,
    session: &Arc<Session>,
    agent: &Agent,
    mut sender: Sender,
    mut receiver: Receiver,
) -> Result<End, stream::Error> {
    let mut rules = listener.rules.clone();
    let mut wishes = Configure {
        log_level: log_level(agent, &mut rules),
        ..Configure::default()
    };
    let mut sent = Configure::default();
    let mut pings = Pings::new();
    let mut probes = Probes::new(listener.limits.probe_every);
    let mut told = false;
    loop {
        let pace = pings::pace(listener.registry.count());
        pings.expect_every(pace);
        wishes.ping_every = Some(pace);
        if wishes != sent {
            send(&mut sender, &Message::Configure(wishes.clone())).await?;
            sent = wishes.clone();
        }
        // `read` keeps what it has in the receiver, so losing the race loses nothing.
        tokio::select! {
            message = read(&mut receiver) => match message? {
                Some(message) => {
                    pings.heard();
                    session.trouble(Trouble::Silent, None);
                    on_message(session, &mut sender, message).await?;
                }
                None => return Ok(End::Closed),
            },
            news = session.connection().credit_news() => {
                send(&mut sender, &Message::Credit(news)).await?;
            }
            due = pings.next(session) => match due {
                Due::Ping(number) => send(&mut sender, &Message::Ping(number)).await?,
                Due::Doubt => {
                    let why = "the agent leaves pings unanswered";
                    session.trouble(Trouble::Silent, Some(why.to_owned()));
                }
                Due::GiveUp => return Ok(End::Silent),
            },
            changed = rules.changed() => match changed {
                Ok(()) => wishes.log_level = log_level(agent, &mut rules),
                Err(_) => return Ok(End::Closed),
            },
            verdict = probes.next(session, listener.registry.count()) => {
                session.trouble(Trouble::Stuck, verdict.clone());
                wishes.set_aside = verdict;
            }
            () = listener.drain.draining(), if !told => {
                told = true;
                // The session stays in use: requests that were accepted before the drain have nobody else.
                send(&mut sender, &Message::Drain { grace: listener.drain_grace }).await?;
            }
        }
    }
}

/// What the agent's configuration file says of its log.
fn log_level(agent: &Agent, rules: &mut watch::Receiver<Arc<Snapshot>>) -> Option<String> {
    let in_force = rules.borrow_and_update().in_force(agent);
    in_force.log_level().map(|level| level.as_str().to_owned())
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
        Message::Credit(news) => session.connection().hear_credit(&news),
        // The rest is ours to send; a pong is proof enough by having come.
        Message::Pong(_)
        | Message::Hello(_)
        | Message::Welcome(_)
        | Message::Refused(_)
        | Message::Configure(_)
        | Message::Close(_) => {}
    }
    Ok(())
}
