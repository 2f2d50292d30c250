//! What arrived at the stand-in: every request and every connection, to ask and to wait for.

mod received;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context as _, Result};
use http::request::Parts;
use http::{HeaderMap, Version};
use tokio::sync::watch;

pub(super) use self::received::Wire;
pub use self::received::{Body, Connection, End, Received};
use crate::deadline::within;

/// Remembers what arrived. Clones share one memory.
#[derive(Debug, Clone)]
pub struct Recorder {
    memory: Arc<Mutex<Memory>>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Memory {
    /// The number of the first request still remembered.
    first: u64,
    requests: VecDeque<Received>,
    connections: VecDeque<(Connection, Wire)>,
    connections_ever: u64,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            memory: Arc::default(),
            changes: watch::Sender::new(0),
        }
    }
}

impl Recorder {
    /// All requests that arrived, oldest first (the last 16,384 of them).
    pub fn received(&self) -> Vec<Received> {
        self.memory
            .lock()
            .unwrap()
            .requests
            .iter()
            .cloned()
            .collect()
    }

    /// How many requests ever arrived.
    pub fn count(&self) -> u64 {
        let memory = self.memory.lock().unwrap();
        memory.first + memory.requests.len() as u64
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        let mut memory = self.memory.lock().unwrap();
        memory.first += memory.requests.len() as u64;
        memory.requests.clear();
    }

    /// The first request that satisfies `wanted`, now or within the deadline. It is asked again at every change: also when
    /// more of a body arrives, and when a client goes away.
    pub async fn wait_for(
        &self,
        what: &str,
        wanted: impl Fn(&Received) -> bool,
    ) -> Result<Received> {
        self.wait_until(what, |memory| {
            memory
                .requests
                .iter()
                .find(|request| wanted(request))
                .cloned()
        })
        .await
        .with_context(|| format!("arrived so far: {}", self.summary()))
    }

    /// A line a request, without headers: they may carry credentials.
    fn summary(&self) -> String {
        let line = |request: &Received| {
            format!(
                "\n  {} {} {:?}",
                request.method, request.target, request.end
            )
        };
        self.received().iter().map(line).collect()
    }

    /// Waits until this many connections are open.
    pub async fn wait_for_connections(&self, open: usize) -> Result<()> {
        let what = format!("{open} open connections");
        self.wait_until(&what, |memory| (memory.open() == open).then_some(()))
            .await
    }

    /// Waits until the connection of this number is closed; when that was.
    pub async fn wait_for_close(&self, connection: u64) -> Result<Instant> {
        self.wait_until("a connection to be closed", |memory| {
            let mut known = memory.connections.iter().map(|(known, _)| known);
            known.find(|known| known.number == connection)?.closed
        })
        .await
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.memory.lock().unwrap().open()
    }

    /// The last 256 connections, open ones and closed ones.
    pub fn connections(&self) -> Vec<Connection> {
        self.memory
            .lock()
            .unwrap()
            .connections
            .iter()
            .map(|(connection, _)| connection.clone())
            .collect()
    }

    /// How many connections were ever accepted.
    pub fn connections_ever(&self) -> u64 {
        self.memory.lock().unwrap().connections_ever
    }

    /// The first 64 KiB that the client sent on this connection, byte for byte: also what the stand-in's HTTP parser refused
    /// and what therefore is not among the requests.
    pub fn wire(&self, connection: u64) -> Vec<u8> {
        let memory = self.memory.lock().unwrap();
        let found = memory
            .connections
            .iter()
            .find(|(known, _)| known.number == connection);
        found.map(|(_, wire)| wire.bytes()).unwrap_or_default()
    }

    async fn wait_until<T>(&self, what: &str, found: impl Fn(&Memory) -> Option<T>) -> Result<T> {
        // Subscribed before the first look, so that no change slips between.
        let mut changes = self.changes.subscribe();
        within(what, async {
            loop {
                if let Some(found) = found(&self.memory.lock().unwrap()) {
                    return Ok(found);
                }
                changes.changed().await.context("the recorder is gone")?;
            }
        })
        .await?
    }

    pub(super) fn connected(&self, alpn: String) -> (u64, Wire) {
        let wire = Wire::default();
        let mut memory = self.memory.lock().unwrap();
        let number = memory.connections_ever;
        memory.connections_ever += 1;
        memory.connections.push_back((
            Connection {
                number,
                alpn,
                opened: Instant::now(),
                closed: None,
            },
            wire.clone(),
        ));
        memory.forget_closed_connections();
        drop(memory);
        self.changed();
        (number, wire)
    }

    pub(super) fn disconnected(&self, number: u64) {
        let mut memory = self.memory.lock().unwrap();
        if let Some((connection, _)) = memory
            .connections
            .iter_mut()
            .find(|(known, _)| known.number == number)
        {
            connection.closed = Some(Instant::now());
        }
        drop(memory);
        self.changed();
    }

    pub(super) fn arrived(&self, connection: u64, head: &Parts) -> Entry {
        let request = Received {
            connection,
            version: head.version,
            method: head.method.clone(),
            target: target(head),
            headers: pairs(&head.headers),
            body: Body::default(),
            trailers: Vec::new(),
            upgraded: Vec::new(),
            arrived: Instant::now(),
            end: End::Running,
        };
        let mut memory = self.memory.lock().unwrap();
        let number = memory.first + memory.requests.len() as u64;
        memory.requests.push_back(request);
        if memory.requests.len() > REMEMBERED {
            memory.requests.pop_front();
            memory.first += 1;
        }
        drop(memory);
        self.changed();
        Entry {
            recorder: self.clone(),
            number,
        }
    }

    fn changed(&self) {
        self.changes.send_modify(|version| *version += 1);
    }
}

impl Memory {
    fn open(&self) -> usize {
        self.connections
            .iter()
            .filter(|(connection, _)| connection.closed.is_none())
            .count()
    }

    fn forget_closed_connections(&mut self) {
        while self.connections.len() > CONNECTIONS {
            let Some(oldest) = self
                .connections
                .iter()
                .position(|(connection, _)| connection.closed.is_some())
            else {
                return;
            };
            self.connections.remove(oldest);
        }
    }
}

/// The place of one request in the recorder.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    recorder: Recorder,
    number: u64,
}

impl Entry {
    pub(super) fn update(&self, change: impl FnOnce(&mut Received)) {
        let mut memory = self.recorder.memory.lock().unwrap();
        let first = memory.first;
        let index = self
            .number
            .checked_sub(first)
            .and_then(|index| usize::try_from(index).ok());
        if let Some(request) = index.and_then(|index| memory.requests.get_mut(index)) {
            change(request);
        }
        drop(memory);
        self.recorder.changed();
    }
}

/// Marks a request as gone when dropped before it was answered.
#[derive(Debug)]
pub(super) struct Answering {
    entry: Entry,
    answered: bool,
}

impl Answering {
    pub(super) fn new(entry: Entry) -> Self {
        Self {
            entry,
            answered: false,
        }
    }

    pub(super) fn answered(&mut self) {
        if !self.answered {
            self.answered = true;
            self.entry
                .update(|request| request.end = End::Answered(Instant::now()));
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if !self.answered {
            self.entry
                .update(|request| request.end = End::Gone(Instant::now()));
        }
    }
}

pub(super) fn pairs(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect()
}

fn target(head: &Parts) -> String {
    // Over HTTP/2 hyper puts scheme and authority into the URI; they were never in the path.
    if head.version == Version::HTTP_2 {
        return head
            .uri
            .path_and_query()
            .map_or_else(String::new, ToString::to_string);
    }
    head.uri.to_string()
}

const REMEMBERED: usize = 16_384;
const CONNECTIONS: usize = 256;
