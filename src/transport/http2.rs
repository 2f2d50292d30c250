//! HTTP/2 over TLS and TCP: the same streams, for networks that block UDP.
//!
//! The agent dials, and is the HTTP/2 *server* on the connection: the ci-tunnel server sends it requests, `POST /stream`
//! for each stream of QUIC. What QUIC does besides streams has streams of its own: `/control` stands for the stream that
//! the agent opens, `/connection` carries why the connection is closed.

mod alive;
mod code;
mod drive;
mod io;
mod places;
mod receiving;
mod state;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Mutex, mpsc};
use tokio_util::task::TaskTracker;

use self::alive::Alive;
use self::drive::Doors;
use self::io::Watched;
use self::places::{Place, Places};
use self::state::State;
use super::connection::{Closed, Connection};
use super::params;
use super::stream::{Receiver, Sender};
use crate::config::net::Quic;
use crate::protocol::code::Code;

pub(super) use self::receiving::Receiving;
pub(super) use self::stream::Sending;

/// Streams of a connection besides its requests': the control stream, and the connection's own.
const OWN_STREAMS: u32 = 2;
/// The largest window that HTTP/2 knows.
const MAX_WINDOW: u32 = (1 << 31) - 1;
/// The smallest stream window that is of use: what HTTP/2 begins with.
const MIN_STREAM_WINDOW: u32 = 65_535;
/// Bytes of one stream that are queued for the socket. More brings no speed, and stands before others' bytes.
const SEND_BUFFER: usize = 128 * 1024;
/// Heads are ours alone, and short.
const MAX_HEAD_LIST: u32 = 16 * 1024;

const REQUEST: &str = "/stream";
const CONTROL: &str = "/control";
const CONNECTION: &str = "/connection";

/// A connection. Clones are the same one; it is closed when the last is dropped.
#[derive(Debug, Clone)]
pub(super) struct Link(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    state: Arc<State>,
    side: Peer,
}

/// Halves of a stream.
type Halves = (Sender, Receiver);

#[derive(Debug)]
enum Peer {
    /// The peer is an agent: streams are opened by requests.
    Agent {
        requests: SendRequest<Bytes>,
        places: Places,
    },
    /// The peer is the server: its requests come in here.
    Server {
        control: Mutex<mpsc::Receiver<Halves>>,
        requests: Mutex<mpsc::Receiver<Halves>>,
    },
}

/// The server's end of a connection that an agent made over `io`. `tasks` counts what drives it, until its last word is
/// out.
///
/// # Errors
/// The peer speaks no HTTP/2. There is no deadline: the caller sets one.
pub async fn to_agent<T>(
    io: T,
    peer: SocketAddr,
    quic: &Quic,
    tasks: &TaskTracker,
) -> Result<Connection, h2::Error>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let state = Arc::new(State::new(peer));
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(stream_window(quic))
        .initial_connection_window_size(MAX_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEAD_LIST)
        .max_local_error_reset_streams(None)
        .enable_push(false);
    let io = Watched::new(io, Arc::clone(&state));
    let (requests, mut connection) = builder.handshake::<_, Bytes>(io).await?;
    let alive = Alive::new(
        &state,
        connection.ping_pong(),
        quic.idle_timeout / 2,
        quic.idle_timeout,
    );
    tasks.spawn(drive::to_agent(connection, Arc::clone(&state), alive));
    let (sender, receiver) = request(&state, &requests, CONNECTION, None)?;
    tasks.spawn(drive::last_words(Arc::clone(&state), sender, receiver));
    let places = Places::new();
    Ok(link(state, Peer::Agent { requests, places }))
}

/// The agent's end of a connection that it made over `io`.
///
/// # Errors
/// The peer speaks no HTTP/2. There is no deadline: the caller sets one.
pub async fn to_server<T>(
    io: T,
    peer: SocketAddr,
    quic: &Quic,
    tasks: &TaskTracker,
) -> Result<Connection, h2::Error>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let state = Arc::new(State::new(peer));
    let most = quic.max_streams.saturating_add(OWN_STREAMS);
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(stream_window(quic))
        .initial_connection_window_size(MAX_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEAD_LIST)
        .max_concurrent_streams(most)
        // All that is opened and given up within one read counts here, and too many end the connection.
        .max_pending_accept_reset_streams(most as usize)
        .max_local_error_reset_streams(None);
    let io = Watched::new(io, Arc::clone(&state));
    let mut connection = builder.handshake::<_, Bytes>(io).await?;
    let alive = Alive::new(
        &state,
        connection.ping_pong(),
        quic.keep_alive,
        quic.idle_timeout,
    );
    let (control, controls) = mpsc::channel(1);
    // The library lets no more in than may be open; those wait here for the session to take them.
    let (streams, requests) = mpsc::channel(most as usize);
    let doors = Doors {
        control,
        streams,
        tasks: tasks.clone(),
    };
    tasks.spawn(drive::to_server(
        connection,
        Arc::clone(&state),
        alive,
        doors,
    ));
    let peer = Peer::Server {
        control: Mutex::new(controls),
        requests: Mutex::new(requests),
    };
    Ok(link(state, peer))
}

fn link(state: Arc<State>, side: Peer) -> Connection {
    Connection::http2(Link(Arc::new(Handle { state, side })))
}

/// As many streams as may be, each with a full window, must not use up the connection's: one stalled reader more would
/// stop all others.
fn stream_window(quic: &Quic) -> u32 {
    let share = MAX_WINDOW / quic.max_streams.saturating_add(OWN_STREAMS);
    let wanted = u32::try_from(quic.stream_window.as_u64()).unwrap_or(MAX_WINDOW);
    wanted.min(share).max(MIN_STREAM_WINDOW)
}

fn request(
    state: &Arc<State>,
    requests: &SendRequest<Bytes>,
    path: &'static str,
    place: Option<Place>,
) -> Result<Halves, h2::Error> {
    let mut requests = requests.clone();
    let (response, out) = requests.send_request(head(path), false)?;
    Ok(stream::opened(state, out, response, place))
}

fn head(path: &'static str) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_static(match path {
        CONTROL => "https://agent/control",
        CONNECTION => "https://agent/connection",
        _ => "https://agent/stream",
    });
    request
}

impl Link {
    pub(super) async fn open(&self) -> Result<Halves, Closed> {
        match &self.0.side {
            Peer::Agent { requests, places } => self.request(requests, places).await,
            // The agent's own stream, which the server opened for it.
            Peer::Server { control, .. } => self.take(control).await,
        }
    }

    pub(super) async fn accept(&self) -> Result<Halves, Closed> {
        let state = &self.0.state;
        match &self.0.side {
            Peer::Agent { requests, .. } => {
                request(state, requests, CONTROL, None).map_err(|error| state.broke(Some(&error)))
            }
            Peer::Server { requests, .. } => self.take(requests).await,
        }
    }

    async fn request(
        &self,
        requests: &SendRequest<Bytes>,
        places: &Places,
    ) -> Result<Halves, Closed> {
        let state = &self.0.state;
        if let Some(closed) = state.ended() {
            return Err(closed);
        }
        let place = tokio::select! {
            biased;
            place = places.take(requests) => place,
            closed = state.closed() => return Err(closed),
        };
        request(state, requests, REQUEST, place).map_err(|error| state.broke(Some(&error)))
    }

    async fn take(&self, from: &Mutex<mpsc::Receiver<Halves>>) -> Result<Halves, Closed> {
        let mut from = from.lock().await;
        tokio::select! {
            biased;
            closed = self.0.state.closed() => Err(closed),
            taken = from.recv() => taken.ok_or_else(|| self.0.state.broke(None)),
        }
    }

    /// Credit keeps streams below the connection's window now, so each may have all of the window that is wanted.
    pub(super) fn widen(&self, quic: &Quic) {
        let needed = params::connection_window(quic);
        if needed <= u64::from(MAX_WINDOW) {
            let wanted = u32::try_from(quic.stream_window.as_u64()).unwrap_or(MAX_WINDOW);
            self.0.state.widen(wanted.max(stream_window(quic)));
        }
    }

    pub(super) async fn closed(&self) -> Closed {
        self.0.state.closed().await
    }

    pub(super) fn close(&self, code: Code, reason: &str) {
        self.0.state.close(code, reason);
    }

    pub(super) fn remote_address(&self) -> SocketAddr {
        self.0.state.peer
    }

    pub(super) fn rtt(&self) -> Duration {
        self.0.state.rtt()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.state.close(Code::Done, "");
    }
}

#[cfg(test)]
mod tests;
