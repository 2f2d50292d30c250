//! A session at work: the control stream's messages, new requests, and the drain at its end.

use std::sync::Arc;
use std::time::Duration;

use ci_tunnel::protocol::code::Code;
use ci_tunnel::protocol::codec::Malformed;
use ci_tunnel::protocol::control::{Configure, Health, Message};
use ci_tunnel::runtime::drain::Notice;
use ci_tunnel::transport::connection::{Closed, Connection};
use ci_tunnel::transport::params;
use ci_tunnel::transport::stream::{self as transport, Receiver, Sender};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tracing::{debug, error, info, warn};

use super::alive::{Alive, Due};
use super::control::Control;
use super::{CLOSE_DEADLINE, End, Error, Handover, Session, Shared};
use crate::stream;

/// How often the server hears of the API server's health.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// A server that takes no message for so long is taken for dead.
const SEND_DEADLINE: Duration = Duration::from_secs(35);
/// How long a drained connection stays, for what the server opened or did not yet acknowledge.
const LINGER: Duration = Duration::from_millis(300);
/// Requests over the limit that are still told so; more are reset.
const BUSY_LIMIT: usize = 64;

/// A session at work.
pub(super) struct Serving {
    connection: Connection,
    control: Control,
    shared: Arc<Shared>,
    context: Arc<stream::Context>,
    streams: JoinSet<()>,
    health: watch::Receiver<Health>,
    alive: Alive,
    handover: Arc<Handover>,
}

impl Serving {
    pub(super) fn new(session: Session, drain: &Notice, handover: Arc<Handover>) -> Self {
        let Session {
            connection,
            control,
            welcome,
            shared,
        } = session;
        let context = stream::Context {
            agent: welcome.agent,
            recent: Default::default(),
            upstream: Arc::clone(&shared.upstream),
            metrics: Arc::clone(&shared.metrics),
            response_deadline: shared.settings.response_deadline,
            draining: drain.clone(),
        };
        Self {
            context: Arc::new(context),
            streams: JoinSet::new(),
            health: shared.health.clone(),
            alive: Alive::new(),
            connection,
            control,
            shared,
            handover,
        }
    }

    /// Until the connection ends, or until it is drained.
    pub(super) async fn serve(&mut self, drain: &Notice) -> End {
        let handover = Arc::clone(&self.handover);
        let served = tokio::select! {
            biased;
            () = drain.draining() => None,
            () = handover.replaced.notified() => None,
            error = self.carry() => Some(error),
        };
        let served = match served {
            Some(broken) => Some(broken),
            None => self.drain(drain).await,
        };
        let Some(broken) = served else {
            self.connection.close(Code::Done, "the agent is drained");
            return End::Drained;
        };
        let (code, reason) = match broken {
            Broken::Silent => (
                Code::Unhealthy,
                "the server is silent on the control stream".to_owned(),
            ),
            Broken::Protocol(error) => (Code::Protocol, error.to_string()),
            Broken::Lost => match timeout(CLOSE_DEADLINE, self.connection.closed()).await {
                Ok(closed) => return End::Lost(closed),
                Err(_) => (Code::Protocol, "the control stream ended".to_owned()),
            },
        };
        self.connection.close(code, &reason);
        End::Lost(Closed {
            code,
            reason,
            said: false,
        })
    }

    /// Serves until something breaks. Each awaited thing here loses nothing when another one wins. That a request has
    /// ended wakes nobody: it is seen when the next one begins, or at the next heartbeat.
    async fn carry(&mut self) -> Broken {
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                biased;
                message = self.control.next() => self.on_message(message).await,
                news = self.connection.credit_news() => self.send(&Message::Credit(news)).await,
                accepted = self.connection.accept() => match accepted {
                    Ok((sender, receiver)) => { self.begin_all(sender, receiver).await; Ok(()) }
                    Err(_) => Err(Broken::Lost),
                },
                due = self.alive.next() => self.on_due(due).await,
                _ = heartbeat.tick() => self.beat().await,
                Ok(()) = self.health.changed() => self.tell_health().await,
            };
            if let Err(broken) = step {
                return broken;
            }
        }
    }

    /// Tells the server to send no more, and gives running requests their time, which does not end unless the whole agent
    /// drains. `None` when all came to an end.
    async fn drain(&mut self, drain: &Notice) -> Option<Broken> {
        let grace = self.shared.settings.drain_timeout;
        info!(running = self.streams.len(), ?grace, "draining");
        if let Err(broken) = self.send(&Message::Drain { grace }).await {
            return Some(broken);
        }
        let mut deadline = None;
        let mut quiet_since = Instant::now();
        loop {
            let quiet = quiet_since + LINGER.max(self.connection.rtt() * 3);
            let idle = self.streams.is_empty();
            let step = tokio::select! {
                biased;
                message = self.control.next() => self.on_message(message).await,
                news = self.connection.credit_news() => self.send(&Message::Credit(news)).await,
                // What the server opened before it learned of the drain is served like the rest.
                accepted = self.connection.accept() => match accepted {
                    Ok((sender, receiver)) => { self.begin_all(sender, receiver).await; Ok(()) }
                    Err(_) => Err(Broken::Lost),
                },
                Some(ended) = self.streams.join_next() => {
                    quiet_since = Instant::now();
                    self.on_ended(ended);
                    Ok(())
                }
                () = sleep_until(quiet), if idle => return None,
                () = drain.draining(), if deadline.is_none() => {
                    deadline = Some(Instant::now() + grace);
                    Ok(())
                }
                () = until(deadline), if !idle => return self.cut("drain_timeout is over"),
                () = drain.forced() => return self.cut("told to end at once"),
            };
            if let Err(broken) = step {
                return Some(broken);
            }
        }
    }

    fn cut(&self, reason: &str) -> Option<Broken> {
        warn!(
            running = self.streams.len(),
            reason, "what still runs is cut"
        );
        self.connection
            .close(Code::Restarting, "the agent is restarting");
        None
    }

    /// Takes every stream that is there with one wake-up: under load they come by the dozen.
    async fn begin_all(&mut self, sender: Sender, receiver: Receiver) {
        self.forget_ended();
        self.begin(sender, receiver);
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = self.connection.accept() => accepted,
                () = std::future::ready(()) => return,
            };
            match accepted {
                Ok((sender, receiver)) => self.begin(sender, receiver),
                // Whoever accepts next hears it too.
                Err(_) => return,
            }
        }
    }

    /// Takes all that have ended with one wake-up.
    fn on_ended(&mut self, ended: Result<(), JoinError>) {
        log_panic(ended);
        self.forget_ended();
    }

    fn forget_ended(&mut self) {
        while let Some(ended) = self.streams.try_join_next() {
            log_panic(ended);
        }
    }

    fn begin(&mut self, sender: Sender, receiver: Receiver) {
        // Servers keep to `max_streams` themselves; older ones only to what the transport lets in.
        let limit = params::announced_streams(self.shared.settings.quic.max_streams);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if self.streams.len() < limit {
            self.streams
                .spawn(stream::serve(sender, receiver, Arc::clone(&self.context)));
        } else if self.streams.len() < limit + BUSY_LIMIT {
            self.streams.spawn(stream::refuse_busy(sender, receiver));
        }
    }

    async fn on_message(&mut self, message: Result<Message, Error>) -> Result<(), Broken> {
        let message = match message {
            Ok(message) => message,
            Err(Error::Protocol(error) | Error::Stream(transport::Error::Malformed(error))) => {
                return Err(Broken::Protocol(error));
            }
            Err(_) => return Err(Broken::Lost),
        };
        if self.alive.heard() {
            self.handover.silent.send_replace(false);
        }
        match message {
            Message::Ping(number) => return self.send(&Message::Pong(number)).await,
            Message::Drain { grace } => {
                info!(
                    ?grace,
                    "the server is leaving: connecting anew while running requests end"
                );
                self.handover.leave.notify_one();
            }
            Message::Configure(wishes) => self.configure(wishes),
            Message::Credit(news) => self.connection.hear_credit(&news),
            other => debug!(?other, "control message"),
        }
        Ok(())
    }

    fn configure(&mut self, wishes: Configure) {
        (self.shared.set_log_level)(wishes.log_level.as_deref());
        if let Some(every) = wishes.ping_every {
            self.shared.pace.set(self.alive.ask_every(every));
        }
        let news = |before: &mut Option<String>| {
            let changed = *before != wishes.set_aside;
            *before = wishes.set_aside;
            changed
        };
        self.shared.set_aside.send_if_modified(news);
    }

    async fn on_due(&mut self, due: Due) -> Result<(), Broken> {
        match due {
            Due::Ping(number) => return self.send(&Message::Ping(number)).await,
            Due::Doubt => {
                self.handover.silent.send_replace(true);
            }
            Due::GiveUp => return Err(Broken::Silent),
        }
        Ok(())
    }

    async fn beat(&mut self) -> Result<(), Broken> {
        self.forget_ended();
        self.shared.metrics.rtt(self.connection.rtt());
        self.tell_health().await
    }

    async fn tell_health(&mut self) -> Result<(), Broken> {
        let health = self.health.borrow_and_update().clone();
        self.send(&Message::Health(health)).await
    }

    async fn send(&mut self, message: &Message) -> Result<(), Broken> {
        match timeout(SEND_DEADLINE, self.control.send(message)).await {
            Ok(sent) => sent.map_err(|_| Broken::Lost),
            Err(_) => Err(Broken::Silent),
        }
    }
}

/// Why a session can not go on.
enum Broken {
    Lost,
    Protocol(Malformed),
    Silent,
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "a request's task panicked; its stream was reset");
    }
}
