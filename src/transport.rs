//! What carries streams between server and agent: QUIC, or HTTP/2 where UDP is blocked; TLS below both.
//! `docs/protocol.md` says what travels on it.

pub mod connection;
pub mod credit;
pub mod endpoint;
pub mod http2;
pub mod params;
pub mod splice;
pub mod stream;
pub mod tcp;
pub mod tls;

#[cfg(test)]
mod tests;
