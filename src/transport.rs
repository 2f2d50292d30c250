//! QUIC between server and agent: endpoints, streams, TLS. `docs/protocol.md` says what travels on it.

pub mod endpoint;
pub mod params;
pub mod splice;
pub mod stream;
pub mod tls;
