//! One connection to the server: hello, the control stream, and the request streams it carries.

mod control;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ci_tunnel::config::value::SecretSource;
use ci_tunnel::protocol::code::Code;
use ci_tunnel::protocol::codec::Malformed;
use ci_tunnel::protocol::control::{Configure, Health, Hello, Message, Refused, Welcome};
use ci_tunnel::runtime::drain::Notice;
use ci_tunnel::transport::endpoint::{Closed, Connection};
use ci_tunnel::transport::stream::{self as transport, Receiver, Sender};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tracing::{debug, error, info, warn};

use crate::metrics::Metrics;
use crate::stream;
use crate::upstream::Upstream;
use control::Control;

/// From an open connection to the server's answer to our hello.
const WELCOME_DEADLINE: Duration = Duration::from_secs(10);
/// How often the server hears of the API server's health, and is asked for a sign of life.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// A server silent for so long on the control stream is taken for dead, whatever QUIC says.
const SILENCE_LIMIT: Duration = Duration::from_secs(35);
/// How long a drained connection stays, for what the server opened or did not yet acknowledge.
const LINGER: Duration = Duration::from_millis(300);
/// Requests over the limit that are still told so; more are reset.
const BUSY_LIMIT: usize = 64;

/// What all sessions of the process share.
pub struct Shared {
    pub upstream: Arc<Upstream>,
    pub metrics: Arc<Metrics>,
    /// Read again for every session, so that a rotated token needs no restart.
    pub token: SecretSource,
    /// Random; the same for all sessions of one process.
    pub instance: u64,
    pub pod: Option<String>,
    pub health: watch::Receiver<Health>,
    pub settings: Settings,
    /// Called with a log level that the server asks for.
    pub set_log_level: Box<dyn Fn(Option<&str>) + Send + Sync>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("pod", &self.pod)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Limits of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The most requests at a time.
    pub max_streams: usize,
    /// How long running requests have once the agent drains.
    pub drain_timeout: Duration,
    /// From the end of a request's body to its response head.
    pub response_deadline: Duration,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("agent token: {0}")]
    Token(#[from] ci_tunnel::config::value::SecretError),
    #[error("the server refused this agent: {} ({})", .0.message, .0.code)]
    Refused(Refused),
    #[error("the server gave no answer to the hello in {} s", WELCOME_DEADLINE.as_secs())]
    Late,
    #[error("control stream: {0}")]
    Stream(#[from] transport::Error),
    #[error("the server broke the protocol: {0}")]
    Protocol(#[from] Malformed),
    #[error("the connection ended before the server's answer: {} ({})", .0.reason, .0.code)]
    Lost(Closed),
}

/// An admitted session, not yet serving.
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    control: Control,
    welcome: Welcome,
    shared: Arc<Shared>,
}

/// How a session ended.
#[derive(Debug)]
pub enum End {
    /// It was drained, as asked.
    Drained,
    /// The connection is gone, or was given up.
    Lost(Closed),
}

/// Says hello on a new connection and waits for the server's answer.
///
/// # Errors
/// The server refuses this agent, or gives no proper answer in time.
pub async fn open(connection: Connection, shared: &Arc<Shared>) -> Result<Session, Error> {
    let hello = Hello {
        token: shared.token.read()?.expose().to_owned(),
        instance: shared.instance,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pod: shared.pod.clone(),
        kubernetes_version: {
            let health = shared.health.borrow();
            health.ready.then(|| health.message.clone())
        },
    };
    let greet = async {
        let (sender, receiver) = connection.open().await.map_err(transport::Error::Lost)?;
        let mut control = Control::new(sender, receiver);
        control.send(&Message::Hello(hello)).await?;
        match control.next().await? {
            Message::Welcome(welcome) => Ok((control, welcome)),
            Message::Refused(refused) => Err(Error::Refused(refused)),
            _ => Err(Malformed::Invalid("welcome").into()),
        }
    };
    let greeted = match timeout(WELCOME_DEADLINE, greet).await {
        Ok(Err(Error::Stream(_))) => Err(Error::Lost(connection.closed().await)),
        Ok(greeted) => greeted,
        Err(_) => Err(Error::Late),
    };
    let (control, welcome) =
        greeted.inspect_err(|error| connection.close(Code::Done, &error.to_string()))?;
    info!(
        server = %connection.remote_address(),
        agent = welcome.agent,
        session = welcome.session,
        version = %welcome.version,
        "connected to the server"
    );
    Ok(Session {
        connection,
        control,
        welcome,
        shared: Arc::clone(shared),
    })
}

impl Session {
    /// The agent's id, as the server says.
    pub fn agent(&self) -> u64 {
        self.welcome.agent
    }

    pub fn server_version(&self) -> &str {
        &self.welcome.version
    }

    /// Serves until the connection ends, or until `drain` begins and the running requests had their time.
    /// `leave` is notified when the server asks to be left.
    pub async fn run(self, drain: Notice, leave: Arc<Notify>) -> End {
        let _counted = self.shared.metrics.connected();
        let Self {
            connection,
            control,
            welcome,
            shared,
        } = self;
        let context = Arc::new(stream::Context {
            agent: welcome.agent,
            upstream: Arc::clone(&shared.upstream),
            metrics: Arc::clone(&shared.metrics),
            response_deadline: shared.settings.response_deadline,
            draining: drain.clone(),
        });
        let mut running = Running {
            heard: Instant::now(),
            health: shared.health.clone(),
            streams: JoinSet::new(),
            connection,
            control,
            shared,
            context,
            leave,
        };
        let end = running.serve(&drain).await;
        info!(session = welcome.session, %end, "session ended");
        end
    }
}

struct Running {
    connection: Connection,
    control: Control,
    shared: Arc<Shared>,
    context: Arc<stream::Context>,
    streams: JoinSet<()>,
    health: watch::Receiver<Health>,
    heard: Instant,
    leave: Arc<Notify>,
}

impl Running {
    async fn serve(&mut self, drain: &Notice) -> End {
        let served = tokio::select! {
            biased;
            () = drain.draining() => None,
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
            Broken::Lost => {
                let closed = self.connection.closed().await;
                return End::Lost(closed);
            }
        };
        self.connection.close(code, &reason);
        End::Lost(Closed { code, reason })
    }

    /// Serves until something breaks. Each awaited thing here loses nothing when another one wins.
    async fn carry(&mut self) -> Broken {
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                biased;
                message = self.control.next() => self.on_message(message).await,
                accepted = self.connection.accept() => match accepted {
                    Ok((sender, receiver)) => { self.begin(sender, receiver); Ok(()) }
                    Err(_) => Err(Broken::Lost),
                },
                Some(ended) = self.streams.join_next() => { log_panic(ended); Ok(()) }
                _ = heartbeat.tick() => self.beat().await,
                Ok(()) = self.health.changed() => self.tell_health().await,
            };
            if let Err(broken) = step {
                return broken;
            }
        }
    }

    /// Tells the server to send no more, and gives running requests their time. `None` when all came to an end.
    async fn drain(&mut self, drain: &Notice) -> Option<Broken> {
        let grace = self.shared.settings.drain_timeout;
        info!(running = self.streams.len(), ?grace, "draining");
        if let Err(broken) = self.send(&Message::Drain { grace }).await {
            return Some(broken);
        }
        let deadline = Instant::now() + grace;
        let mut quiet_since = Instant::now();
        loop {
            let quiet = quiet_since + LINGER.max(self.connection.rtt() * 3);
            let idle = self.streams.is_empty();
            let step = tokio::select! {
                biased;
                message = self.control.next() => self.on_message(message).await,
                // What the server opened before it learned of the drain is served like the rest.
                accepted = self.connection.accept() => match accepted {
                    Ok((sender, receiver)) => { self.begin(sender, receiver); Ok(()) }
                    Err(_) => Err(Broken::Lost),
                },
                Some(ended) = self.streams.join_next() => {
                    quiet_since = Instant::now();
                    log_panic(ended);
                    Ok(())
                }
                () = sleep_until(quiet), if idle => return None,
                () = sleep_until(deadline), if !idle => return self.cut("drain_timeout is over"),
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

    fn begin(&mut self, sender: Sender, receiver: Receiver) {
        let limit = self.shared.settings.max_streams;
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
        self.heard = Instant::now();
        match message {
            Message::Ping(number) => return self.send(&Message::Pong(number)).await,
            Message::Drain { grace } => {
                info!(
                    ?grace,
                    "the server is leaving: connecting anew while running requests end"
                );
                self.leave.notify_one();
            }
            Message::Configure(Configure { log_level }) => {
                (self.shared.set_log_level)(log_level.as_deref())
            }
            other => debug!(?other, "control message"),
        }
        Ok(())
    }

    async fn beat(&mut self) -> Result<(), Broken> {
        if self.heard.elapsed() > SILENCE_LIMIT {
            return Err(Broken::Silent);
        }
        self.shared.metrics.rtt(self.connection.rtt());
        self.send(&Message::Ping(u64::from(
            self.heard.elapsed().subsec_millis(),
        )))
        .await?;
        self.tell_health().await
    }

    async fn tell_health(&mut self) -> Result<(), Broken> {
        let health = self.health.borrow_and_update().clone();
        self.send(&Message::Health(health)).await
    }

    async fn send(&mut self, message: &Message) -> Result<(), Broken> {
        match timeout(SILENCE_LIMIT, self.control.send(message)).await {
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

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drained => f.write_str("drained"),
            Self::Lost(closed) => write!(f, "{} ({})", closed.reason, closed.code),
        }
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "a request's task panicked; its stream was reset");
    }
}
