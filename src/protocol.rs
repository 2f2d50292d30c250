//! The wire between server and agent, as pure values and byte buffers: no socket, task or clock.
//!
//! `docs/protocol.md` gives every byte. A connection carries one **control stream**, opened by the agent, and any
//! number of **request streams**, opened by the server. Both carry frames ([`frame`]); a request stream that was
//! upgraded carries raw bytes after its response head.

pub mod code;
pub mod codec;
pub mod control;
pub mod frame;
pub mod head;
pub mod identity;

/// The ALPN protocol name. A change that an older peer can not live with gets a new name.
pub const ALPN: &[u8] = b"ci-tunnel/1";

/// The same protocol over HTTP/2, for networks that block UDP.
pub const ALPN_HTTP2: &[u8] = b"ci-tunnel-h2/1";

/// The longest frame of the control stream, in bytes of payload.
pub const MAX_CONTROL_FRAME: u64 = 16 * 1024;

/// The longest request or response head, in bytes of payload. Kubernetes API servers accept heads of 1 MiB at most;
/// impersonation extras and long `fieldSelector`s need a few KiB.
pub const MAX_HEAD_FRAME: u64 = 256 * 1024;

/// The longest DATA frame, in bytes of payload. Longer bodies are several frames.
pub const MAX_DATA_FRAME: u64 = 1 << 30;

/// The most headers (or trailers) in one head.
pub const MAX_HEADERS: usize = 256;

#[cfg(test)]
mod tests;
