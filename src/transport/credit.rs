//! Credit of request streams, above the transport: the same over QUIC and HTTP/2.
//!
//! A transport's own window is fixed for all streams of a connection: small, a stream is slow over a long path; large, every
//! stalled reader holds as much. So a stream may send its first bytes unasked, and more only as its receiver grants. The
//! receiver begins small and grants more where that makes the stream faster, within a budget of bytes. Streams that carry
//! little know nothing of this: no lock, no entry, no message.

mod budget;
mod gate;
mod incoming;
mod outgoing;
mod path;
mod window;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::config::net::Quic;
use crate::protocol::control::{self, MAX_CREDITS};

pub use budget::Budget;
use budget::Share;
use gate::Gate;
use incoming::Held;
pub(super) use incoming::Incoming;
pub(super) use outgoing::Outgoing;
use path::Path;
use window::Moment;

/// What both ends of a connection agreed on, and what this one allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Bytes of a stream that the peer may send unasked.
    pub first: u64,
    /// Bytes of a stream that the peer takes unasked.
    pub peer_first: u64,
    /// The most bytes of a stream that may lie unread.
    pub most: u64,
    /// What all streams of the connection may hold beyond `first` each.
    pub budget: u64,
}

impl Terms {
    /// Those of `quic`, with a peer that takes `peer_first` bytes of each stream unasked.
    pub fn new(quic: &Quic, peer_first: u64) -> Self {
        let most = quic.stream_window.as_u64();
        Self {
            first: quic.initial_window.as_u64().min(most),
            peer_first,
            most,
            budget: quic.connection_budget.as_u64(),
        }
    }
}

/// The credit of a connection's streams, in both directions.
#[derive(Debug)]
pub struct Credit {
    terms: Terms,
    share: Share,
    /// Locked before a stream's own.
    streams: Mutex<Streams>,
    path: Mutex<Path>,
    told: Notify,
}

#[derive(Debug, Default)]
struct Streams {
    /// Those that send much.
    gates: HashMap<u64, Arc<Gate>>,
    /// Those of which much is received.
    held: HashMap<u64, Arc<Held>>,
    /// To be said; what belongs to one stream is said together.
    granted: HashMap<u64, u64>,
    returned: HashMap<u64, u64>,
    blocked: HashMap<u64, u64>,
    /// When to look for idle and stalled streams.
    look: Option<Instant>,
}

/// How often idle and stalled streams are looked for, while there are any that could be.
const LOOK: Duration = Duration::from_secs(1);

impl Credit {
    /// The credit of a connection that may hold a part of `process`.
    pub fn new(terms: Terms, process: Arc<Budget>) -> Arc<Self> {
        Arc::new(Self {
            share: Share::new(terms.budget, process),
            terms,
            streams: Mutex::default(),
            path: Mutex::new(Path::new()),
            told: Notify::new(),
        })
    }

    /// A round trip takes so long now; zero: that is not known. Windows grow where that makes a stream faster.
    pub fn measured(&self, rtt: Duration) {
        self.path().measured(rtt);
    }

    /// What is to be said to the peer, as soon as there is something. Losing a race loses nothing.
    pub async fn news(&self) -> control::Credit {
        loop {
            let (news, look) = {
                let mut streams = self.streams();
                (streams.news(), streams.look)
            };
            if !news.is_empty() {
                return news;
            }
            let looking = async {
                match look {
                    Some(look) => sleep_until(look).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.told.notified() => {}
                () = looking => self.look(),
            }
        }
    }

    /// What the peer says. What it says of streams that have ended is too late.
    pub fn hear(&self, news: &control::Credit) {
        for (stream, bytes) in &news.granted {
            let gate = self.streams().gates.get(stream).cloned();
            if let Some(gate) = gate {
                gate.grant(*bytes);
                self.soon_look();
            }
        }
        for (stream, bytes) in &news.returned {
            if let Some(held) = self.held_by(*stream) {
                self.share.give(held.window().returned(*bytes));
            }
        }
        for (stream, sent) in &news.blocked {
            if let Some(held) = self.held_by(*stream) {
                held.window().blocked(*sent);
                self.grant(*stream, &held);
            }
        }
    }

    /// The streams that hold more than any may, and whose readers have left bytes lying for `patience`.
    pub fn stalled(&self, patience: Duration) -> Vec<u64> {
        let now = Instant::now();
        let is_stalled = |held: &Held| {
            held.stalled_since()
                .is_some_and(|since| now.duration_since(since) >= patience)
        };
        let streams = self.streams();
        let stalled = streams.held.iter().filter(|(_, held)| is_stalled(held));
        stalled.map(|(stream, _)| *stream).collect()
    }

    /// The streams whose readers have begun to leave bytes lying since this was last asked.
    pub fn newly_lying(&self) -> HashSet<u64> {
        let streams = self.streams();
        let lying = streams.held.iter().filter(|(_, held)| held.newly_lying());
        lying.map(|(stream, _)| *stream).collect()
    }

    /// Whether a stream was refused room in this connection's part of the budget since this was last asked.
    pub fn was_wanted(&self) -> bool {
        self.share.own.was_wanted()
    }

    /// Bytes that streams may hold now, beyond the first ones of each.
    pub fn held_bytes(&self) -> u64 {
        u64::try_from(self.share.own.held().get()).unwrap_or(0)
    }

    /// Up to so many bytes a sender knows nothing of credit, and no sooner its receiver grants any: so a grant always finds
    /// whom it is for.
    fn unnoticed(first: u64) -> u64 {
        first / 2
    }

    fn open_gate(&self, stream: u64, sent: u64) -> Arc<Gate> {
        let gate = Arc::new(Gate::new(self.terms.peer_first, sent));
        self.streams().gates.insert(stream, Arc::clone(&gate));
        gate
    }

    fn close_gate(&self, stream: u64) {
        let mut streams = self.streams();
        streams.gates.remove(&stream);
        streams.returned.remove(&stream);
        streams.blocked.remove(&stream);
    }

    fn say_blocked(&self, stream: u64, sent: u64) {
        self.streams().blocked.insert(stream, sent);
        self.told.notify_one();
    }

    fn hold(&self, stream: u64, read: u64) -> Arc<Held> {
        let held = Arc::new(Held::new(self.terms.first, self.terms.most, read));
        self.streams().held.insert(stream, Arc::clone(&held));
        held
    }

    fn let_go(&self, stream: u64, held: &Held) {
        let mut streams = self.streams();
        streams.held.remove(&stream);
        streams.granted.remove(&stream);
        drop(streams);
        self.share.give(held.window().end());
    }

    fn held_by(&self, stream: u64) -> Option<Arc<Held>> {
        self.streams().held.get(&stream).cloned()
    }

    /// Grants what is due.
    fn grant(&self, stream: u64, held: &Held) {
        let moment = Moment {
            now: Instant::now(),
            round_trip: self.path().round_trip(),
        };
        let granted = held.window().grant(moment, |more| self.share.take(more));
        if let Some(granted) = granted {
            let mut streams = self.streams();
            if streams.held.contains_key(&stream) {
                *streams.granted.entry(stream).or_default() += granted;
                streams.soon_look();
                drop(streams);
                self.told.notify_one();
            }
        }
    }

    fn soon_look(&self) {
        self.streams().soon_look();
    }

    /// Streams that send nothing give their credit back, so that those that do can have it; streams whose readers take
    /// nothing are noticed.
    fn look(&self) {
        let now = Instant::now();
        let mut streams = self.streams();
        let Streams {
            gates,
            held,
            returned,
            look,
            ..
        } = &mut *streams;
        let mut unsettled = false;
        for (stream, gate) in gates.iter() {
            let given = gate.give_up_idle(self.terms.peer_first);
            if given > 0 {
                *returned.entry(*stream).or_default() += given;
            }
            unsettled |= gate.left() > self.terms.peer_first;
        }
        for held in held.values() {
            unsettled |= held.look(now);
        }
        *look = unsettled.then(|| now + LOOK);
    }

    fn path(&self) -> MutexGuard<'_, Path> {
        self.path.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Streams {
    /// Takes what is to be said, as much as fits one message.
    fn news(&mut self) -> control::Credit {
        let mut room = MAX_CREDITS;
        let mut take = |from: &mut HashMap<u64, u64>| {
            let some: Vec<_> = if from.len() <= room {
                from.drain().collect()
            } else {
                let some: Vec<_> = from.iter().take(room).map(|(k, v)| (*k, *v)).collect();
                from.retain(|stream, _| !some.iter().any(|(taken, _)| taken == stream));
                some
            };
            room -= some.len();
            some
        };
        control::Credit {
            granted: take(&mut self.granted),
            returned: take(&mut self.returned),
            blocked: take(&mut self.blocked),
        }
    }

    fn soon_look(&mut self) {
        self.look.get_or_insert_with(|| Instant::now() + LOOK);
    }
}
