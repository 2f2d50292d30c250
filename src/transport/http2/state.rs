//! What the handles, the streams and the driver of one connection share.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::code;
use crate::protocol::code::Code;
use crate::protocol::control::Close;
use crate::transport::connection::Closed;
use crate::transport::stream;

/// What is known of a connection.
#[derive(Debug)]
pub(super) struct State {
    pub(super) peer: SocketAddr,
    begin: Instant,
    /// When bytes last came, in milliseconds since `begin`.
    heard: AtomicU64,
    /// In microseconds.
    rtt: AtomicU64,
    /// Request streams that somebody holds.
    streams: AtomicUsize,
    quiet: Notify,
    /// The window that streams have from now on, once that is known.
    window: OnceLock<u32>,
    widened: Notify,
    /// What this side said at its end.
    said: OnceLock<Close>,
    end: watch::Sender<Option<Closed>>,
}

/// For last words to arrive, and for what was sent before them.
pub(super) const LINGER: Duration = Duration::from_secs(1);

impl State {
    pub(super) fn new(peer: SocketAddr) -> Self {
        Self {
            peer,
            begin: Instant::now(),
            heard: AtomicU64::new(0),
            rtt: AtomicU64::new(0),
            streams: AtomicUsize::new(0),
            quiet: Notify::new(),
            window: OnceLock::new(),
            widened: Notify::new(),
            said: OnceLock::new(),
            end: watch::Sender::new(None),
        }
    }

    /// Bytes came from the peer.
    pub(super) fn heard(&self) {
        let now = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(now, Ordering::Relaxed);
    }

    /// When bytes last came.
    pub(super) fn last_heard(&self) -> Instant {
        self.begin + Duration::from_millis(self.heard.load(Ordering::Relaxed))
    }

    pub(super) fn measured(&self, rtt: Duration) {
        let micros = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
        self.rtt.store(micros, Ordering::Relaxed);
    }

    pub(super) fn rtt(&self) -> Duration {
        Duration::from_micros(self.rtt.load(Ordering::Relaxed))
    }

    /// Streams may have this window; only the first time counts.
    pub(super) fn widen(&self, window: u32) {
        if self.window.set(window).is_ok() {
            self.widened.notify_one();
        }
    }

    /// Waits for another window, which comes once.
    pub(super) async fn widened(&self) -> u32 {
        loop {
            self.widened.notified().await;
            if let Some(window) = self.window.get() {
                return *window;
            }
        }
    }

    pub(super) fn stream_begins(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stream_ends(&self) {
        if self.streams.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.quiet.notify_one();
        }
    }

    /// Ends the connection from this side; only the first time counts.
    pub(super) fn close(&self, code: Code, reason: &str) {
        let reason = reason.chars().filter(|char| !char.is_control()).take(200);
        let close = Close {
            code,
            reason: reason.collect(),
        };
        // Set before the end is seen: whoever sees it looks for what to say.
        if self.ended().is_none() && self.said.set(close).is_ok() {
            self.end(Closed {
                code: Code::Done,
                reason: "closed by this side".to_owned(),
                said: false,
            });
        }
    }

    /// What this side has to say at the end, if it was this side that ended the connection.
    pub(super) fn last_words(&self) -> Option<&Close> {
        self.said.get()
    }

    /// The connection is at its end; only the first time counts.
    pub(super) fn end(&self, closed: Closed) {
        self.end.send_if_modified(|end| {
            let first = end.is_none();
            end.get_or_insert(closed);
            first
        });
    }

    pub(super) fn ended(&self) -> Option<Closed> {
        self.end.borrow().clone()
    }

    /// Waits for the end.
    pub(super) async fn closed(&self) -> Closed {
        let mut end = self.end.subscribe();
        let ended = end.wait_for(Option::is_some).await;
        // The sender is this value's own, so it is there, and `wait_for` gives what it waited for.
        ended.map_or_else(|_| gone(), |end| end.clone().unwrap_or_else(gone))
    }

    /// Waits for the end, and then until what was sent before it had its time to arrive.
    pub(super) async fn lingered(&self) {
        let closed = self.closed().await;
        let ours = self.said.get().is_some();
        if !ours && closed.code != Code::Done {
            return;
        }
        let quiet = async {
            // Our own last words need the peer, which then closes the connection.
            while ours || self.streams.load(Ordering::Acquire) > 0 {
                self.quiet.notified().await;
            }
        };
        // Nothing more is known when the time is up: the connection ends in any case.
        let _ = tokio::time::timeout(LINGER, quiet).await;
    }

    /// What an error of the connection itself says of its end.
    pub(super) fn broke(&self, error: Option<&h2::Error>) -> Closed {
        self.ended().unwrap_or_else(|| match error {
            Some(error) if error.is_go_away() => Closed {
                code: error.reason().map_or(Code::Protocol, code::code),
                reason: format!("HTTP/2: {error}"),
                said: false,
            },
            Some(error) if !error.is_io() => Closed {
                code: Code::Protocol,
                reason: format!("HTTP/2: {error}"),
                said: false,
            },
            // Without a word the peer's process ends, not its program: it starts anew, most likely.
            Some(error) => Closed {
                code: Code::Restarting,
                reason: error.to_string(),
                said: false,
            },
            None => gone(),
        })
    }

    /// What an error of a stream says.
    pub(super) fn stream_error(
        &self,
        error: &h2::Error,
        reset: fn(Code) -> stream::Error,
    ) -> stream::Error {
        match error.reason() {
            Some(reason) if error.is_reset() => reset(code::code(reason)),
            _ => stream::Error::Lost(self.broke(Some(error))),
        }
    }
}

fn gone() -> Closed {
    Closed {
        code: Code::Restarting,
        reason: "the peer closed the TCP connection".to_owned(),
        said: false,
    }
}
