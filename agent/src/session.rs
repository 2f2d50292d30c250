//! One connection to the server: hello, the control stream, and the request streams it carries.

mod alive;
mod control;
mod serve;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ci_tunnel::config::net::Quic;
use ci_tunnel::config::value::SecretSource;
use ci_tunnel::protocol::code::Code;
use ci_tunnel::protocol::codec::Malformed;
use ci_tunnel::protocol::control::{Health, Hello, Message, Refused, Welcome};
use ci_tunnel::runtime::drain::Notice;
use ci_tunnel::transport::connection::{Closed, Connection, Transport};
use ci_tunnel::transport::credit::{Budget, Terms};
use ci_tunnel::transport::stream as transport;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tracing::info;

use crate::metrics::Metrics;
use crate::upstream::Upstream;
use control::Control;
use serve::Serving;

/// From an open connection to the server's answer to our hello.
const WELCOME_DEADLINE: Duration = Duration::from_secs(10);
/// A broken stream mostly says that its connection is gone; how that ended is known a moment later.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

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
    pub pace: Pace,
    /// Told why the server sends requests elsewhere, as long as it does.
    pub set_aside: watch::Sender<Option<String>>,
    /// What requests of all sessions may hold.
    pub budget: Arc<Budget>,
    pub set_log_level: SetLogLevel,
}

/// How often the server last asked for pings. It asks the less often the more agents it has, so this says how many there are
/// to come back when they lose it.
#[derive(Debug, Default)]
pub struct Pace(AtomicU64);

impl Pace {
    pub fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, every: Duration) {
        let millis = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        self.0.store(millis, Ordering::Relaxed);
    }
}

/// Takes the log level that the server asks for; `None` when it asks for none.
pub type SetLogLevel = Box<dyn Fn(Option<&str>) + Send + Sync>;

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
    /// Whether the session only asks whether it would be admitted.
    pub probe: bool,
    pub quic: Quic,
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

/// What a session and whoever keeps it tell each other.
#[derive(Debug, Default)]
pub struct Handover {
    /// The server asks to be left.
    pub leave: Notify,
    /// Another session has taken the place of this one: requests that run may end, and then it ends.
    pub replaced: Notify,
    /// Whether the server leaves pings unanswered.
    pub silent: watch::Sender<bool>,
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
        probe: shared.settings.probe,
        max_streams: Some(shared.settings.quic.max_streams.into()),
        first_credit: Some(Terms::new(&shared.settings.quic, 0).first),
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
        Ok(Err(error @ Error::Stream(_))) => {
            let closed = timeout(CLOSE_DEADLINE, connection.closed()).await;
            Err(closed.map_or(error, Error::Lost))
        }
        Ok(greeted) => greeted,
        Err(_) => Err(Error::Late),
    };
    let (control, welcome) =
        greeted.inspect_err(|error| connection.close(Code::Done, &error.to_string()))?;
    // What the server thought of another session says nothing of this one.
    shared.set_aside.send_replace(None);
    connection.agree(&shared.settings.quic, welcome.first_credit, &shared.budget);
    info!(
        server = %connection.remote_address(),
        transport = connection.transport().name(),
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

    /// Where the server is.
    pub fn server_address(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    pub fn transport(&self) -> Transport {
        self.connection.transport()
    }

    /// Serves until the connection ends, until it is replaced and its requests are over, or until `drain` begins and they
    /// had their time.
    pub async fn run(self, drain: Notice, handover: Arc<Handover>) -> End {
        let _counted = self.shared.metrics.ways.connected(self.transport());
        let number = self.welcome.session;
        let end = Serving::new(self, &drain, handover).serve(&drain).await;
        info!(session = number, %end, "session ended");
        end
    }
}

impl Error {
    /// The code that the server gave, if it did.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(refused) => Some(refused.code),
            Self::Lost(closed) => Some(closed.code),
            _ => None,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drained => f.write_str("drained"),
            Self::Lost(closed) => write!(f, "{} ({})", closed.reason, closed.code),
        }
    }
}

#[cfg(test)]
mod tests;
