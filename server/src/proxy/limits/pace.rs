//! One direction of one request under limits of bytes a second: what has come is paid for before more is read.
//!
//! Nothing is dropped and nothing cut: who is not read from any more stops sending, by the flow control of QUIC, HTTP/2
//! and TCP. Requests without such a limit have no pace at all.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::bucket::{Bucket, Turn};

/// Pays at every bucket that the request falls under, one after the other.
#[derive(Debug)]
pub struct Pace {
    flows: Vec<Flow>,
}

#[derive(Debug)]
struct Flow {
    bucket: Arc<Bucket>,
    /// As its bucket counts.
    had: u64,
    owed: u64,
    turn: Option<Turn>,
}

impl Pace {
    pub(super) fn new(buckets: impl Iterator<Item = Arc<Bucket>>) -> Option<Self> {
        let flows: Vec<_> = buckets.map(Flow::new).collect();
        (!flows.is_empty()).then_some(Self { flows })
    }

    /// So many more bytes have come.
    pub fn owe(&mut self, bytes: usize) {
        for flow in &mut self.flows {
            flow.owed += bytes as u64;
        }
    }

    /// Ready when all is paid.
    pub fn poll_paid(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for flow in &mut self.flows {
            ready!(flow.poll_paid(cx));
        }
        Poll::Ready(())
    }

    /// Waits until so many more bytes are paid for.
    pub async fn pay(&mut self, bytes: usize) {
        self.owe(bytes);
        poll_fn(|cx| self.poll_paid(cx)).await;
    }
}

impl Flow {
    fn new(bucket: Arc<Bucket>) -> Self {
        Self {
            bucket,
            had: 0,
            owed: 0,
            turn: None,
        }
    }

    fn poll_paid(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.owed > 0 {
            let turn = match &mut self.turn {
                Some(turn) => turn,
                none => none.insert(self.bucket.ask(self.owed, &mut self.had)),
            };
            if let Some(due) = &mut turn.due {
                // An error says that the runtime ends: nothing is counted any more.
                let _ = ready!(Pin::new(due).poll(cx));
            }
            self.owed -= turn.bytes;
            self.turn = None;
        }
        Poll::Ready(())
    }
}

/// A client's upgraded connection under limits, each direction with a pace of its own.
#[derive(Debug)]
pub struct Paced<T> {
    io: T,
    reads: Pace,
    writes: Pace,
    /// Paid for, and not yet written.
    paid: usize,
    /// Asked for.
    asked: usize,
}

impl<T> Paced<T> {
    pub fn new(io: T, reads: Pace, writes: Pace) -> Self {
        Self {
            io,
            reads,
            writes,
            paid: 0,
            asked: 0,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Paced<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        // What was read last: a key stroke goes on at once, the next one waits.
        ready!(this.reads.poll_paid(cx));
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buffer))?;
        this.reads.owe(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Paced<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        if this.paid == 0 {
            if this.asked == 0 {
                this.asked = bytes.len();
                this.writes.owe(bytes.len());
            }
            ready!(this.writes.poll_paid(cx));
            this.paid = std::mem::take(&mut this.asked);
        }
        let bytes = &bytes[..bytes.len().min(this.paid)];
        let written = ready!(Pin::new(&mut this.io).poll_write(cx, bytes))?;
        this.paid -= written;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
