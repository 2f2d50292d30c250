//! One bidirectional stream as two halves: frames out, frames in, raw bytes after an upgrade.
//!
//! A half that is dropped before its end is reset (or stopped) with a code, so that a task which ends early can not
//! make a cut body look whole.

mod receiver;
mod sender;

use bytes::Bytes;
use http::HeaderMap;

use super::connection::Closed;
use crate::protocol::code::Code;
use crate::protocol::codec::Malformed;

pub use receiver::Receiver;
pub use sender::Sender;

/// Why a stream gave or took no more bytes.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The peer reset the stream.
    #[error("the peer reset the stream: {0}")]
    Reset(Code),
    /// The peer reads no further.
    #[error("the peer stopped reading: {0}")]
    Stopped(Code),
    /// The connection is gone.
    #[error("the connection is gone: {0}")]
    Lost(#[from] Closed),
    /// The peer sent bytes that the protocol does not allow.
    #[error("the peer broke the protocol: {0}")]
    Malformed(#[from] Malformed),
    /// The stream ended in the middle of a frame.
    #[error("the stream ended in the middle of a frame")]
    Truncated,
}

/// A piece of a body.
#[derive(Debug)]
pub enum Piece {
    /// The next bytes.
    Data(Bytes),
    /// The trailers, after the last bytes.
    Trailers(HeaderMap),
}
