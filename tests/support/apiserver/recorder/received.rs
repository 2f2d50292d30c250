//! One request, and one connection, as the stand-in saw it.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use http::{Method, Version};

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// The number of the [`Connection`] it came on.
    pub connection: u64,
    pub version: Version,
    pub method: Method,
    /// The request target as it was on the wire, less a fragment (hyper drops it; the connection's bytes have it).
    pub target: String,
    /// Every header line in order of names, duplicates kept, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Body,
    /// Trailers that followed the body.
    pub trailers: Vec<(String, Vec<u8>)>,
    /// For upgraded connections: the first bytes that came after the switch, and after a wrong one.
    pub upgraded: Vec<u8>,
    pub arrived: Instant,
    pub end: End,
}

/// How much of a request's body arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Body {
    pub len: u64,
    /// Of all of the body in hex, once it is complete.
    pub sha256: Option<String>,
    /// When the body broke off, if it did.
    pub broke: Option<Instant>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The answer is not given, or not given in full, yet.
    Running,
    /// The answer was handed over whole.
    Answered(Instant),
    /// The client went away before the end of the answer.
    Gone(Instant),
}

/// One connection to the stand-in.
#[derive(Debug, Clone)]
pub struct Connection {
    pub number: u64,
    /// The application protocol that TLS agreed on.
    pub alpn: String,
    pub opened: Instant,
    pub closed: Option<Instant>,
}

impl Received {
    /// The values of a header, in order.
    pub fn header(&self, name: &str) -> Vec<String> {
        values(&self.headers, name)
    }

    /// The only value of a header; none if it is missing or stands twice.
    pub fn sole(&self, name: &str) -> Option<String> {
        let mut all = self.header(name);
        if all.len() == 1 { all.pop() } else { None }
    }

    /// The path without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub fn is_gone(&self) -> bool {
        matches!(self.end, End::Gone(_))
    }
}

fn values(pairs: &[(String, Vec<u8>)], wanted: &str) -> Vec<String> {
    let same = pairs
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
    same.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        .collect()
}

/// The first bytes that a client sent on a connection, inside TLS.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Wire(Arc<Mutex<Vec<u8>>>);

impl Wire {
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }

    pub(in super::super) fn append(&self, bytes: &[u8]) {
        let mut wire = self.0.lock().unwrap();
        let room = WIRE_BYTES - wire.len();
        wire.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

const WIRE_BYTES: usize = 64 * 1024;
