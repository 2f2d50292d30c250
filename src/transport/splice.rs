//! Raw bytes both ways between a connection and a stream, until both directions have ended: an upgraded request.

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use super::stream::{self, Receiver, Sender};
use crate::protocol::code::Code;

/// Why a splice ended before both directions had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection failed.
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    /// The stream failed.
    #[error(transparent)]
    Stream(#[from] stream::Error),
}

/// How many bytes went each way; kept up to date while the splice runs, so that a cut one can be told too.
#[derive(Debug, Default)]
pub struct Counters {
    /// From the connection to the stream.
    pub sent: u64,
    /// From the stream to the connection.
    pub received: u64,
}

/// The most bytes read from the connection at once.
const BUFFER: usize = 32 * 1024;

/// Copies both ways. The end of one direction is handed on and leaves the other open; a failure of one ends both, the
/// stream's halves with a code: `broken` when it was the connection's, [`Code::Cancelled`] when it was the stream's.
///
/// # Errors
/// Either side failed before both directions had ended.
pub async fn splice<T: AsyncRead + AsyncWrite>(
    io: T,
    sender: &mut Sender,
    receiver: &mut Receiver,
    counters: &mut Counters,
    broken: Code,
) -> Result<(), Error> {
    let (reader, writer) = tokio::io::split(io);
    let up = copy_out(reader, sender, &mut counters.sent);
    let down = copy_in(receiver, writer, &mut counters.received);
    let result = tokio::try_join!(up, down);
    if let Err(error) = &result {
        let code = match error {
            Error::Io(_) => broken,
            Error::Stream(_) => Code::Cancelled,
        };
        sender.reset(code);
        receiver.stop(code);
    }
    result.map(|((), ())| ())
}

async fn copy_out<T: AsyncRead>(
    mut from: ReadHalf<T>,
    to: &mut Sender,
    count: &mut u64,
) -> Result<(), Error> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(BUFFER);
        let length = from.read_buf(&mut buffer).await?;
        if length == 0 {
            to.finish();
            return Ok(());
        }
        *count += length as u64;
        to.write(buffer.split().freeze()).await?;
    }
}

async fn copy_in<T: AsyncWrite>(
    from: &mut Receiver,
    mut to: WriteHalf<T>,
    count: &mut u64,
) -> Result<(), Error> {
    while let Some(bytes) = from.raw().await? {
        *count += bytes.len() as u64;
        to.write_all(&bytes).await?;
        to.flush().await?;
    }
    to.shutdown().await?;
    Ok(())
}
