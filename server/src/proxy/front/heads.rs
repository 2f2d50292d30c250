//! How long an HTTP/1.1 connection may take for a request's head, and how long it may be idle before one begins.
//!
//! hyper knows one time for both, and asks a timer for it whenever it begins to wait for a head. The timer here tells
//! the two apart by whether a byte has come since.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Sleep, Timer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::proxy::client::Client;

/// The two times of one connection.
#[derive(Debug, Clone)]
pub(super) struct Heads {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Arc<Client>,
    head: Duration,
    idle: Duration,
    /// Reads that brought something.
    reads: AtomicU64,
    /// Notified when the connection was idle for too long.
    over: Notify,
    alarm: Mutex<Alarm>,
}

/// The one timer of a connection. It goes off at a wait's end or before, and is set again then: to set it for each head
/// would cost more than to be woken for nothing now and then.
#[derive(Debug)]
struct Alarm(Pin<Box<tokio::time::Sleep>>);

/// A connection whose reads are counted.
#[derive(Debug)]
pub(super) struct Counted<T> {
    io: T,
    shared: Arc<Shared>,
}

/// The wait for one head.
struct Wait {
    shared: Arc<Shared>,
    reads: u64,
    phase: Phase,
    until: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    /// The connection is being ended.
    Over,
    Head,
}

impl Heads {
    pub(super) fn new(client: Arc<Client>, head: Duration, idle: Duration) -> Self {
        Self {
            shared: Arc::new(Shared {
                client,
                head,
                idle,
                reads: AtomicU64::new(0),
                over: Notify::new(),
                alarm: Mutex::new(Alarm(Box::pin(tokio::time::sleep(head)))),
            }),
        }
    }

    pub(super) fn count<T>(&self, io: T) -> Counted<T> {
        Counted {
            io,
            shared: Arc::clone(&self.shared),
        }
    }

    /// Completes when the connection was idle for too long.
    pub(super) async fn idle_for_too_long(&self) {
        self.shared.over.notified().await;
    }

    fn wait(&self) -> Wait {
        let shared = Arc::clone(&self.shared);
        // A stranger has no time to be idle in.
        let (phase, time) = if shared.client.is_known() {
            (Phase::Idle, shared.idle)
        } else {
            (Phase::Head, shared.head)
        };
        Wait {
            reads: shared.reads.load(Ordering::Relaxed),
            shared,
            phase,
            until: Instant::now() + time,
        }
    }
}

impl Timer for Heads {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(self.wait())
    }

    fn sleep_until(&self, _: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(self.wait())
    }
}

impl Sleep for Wait {}

impl Alarm {
    /// Ready at `until`.
    fn poll(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = &mut self.0;
        if sleep.deadline() > until {
            sleep.as_mut().reset(until);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if until <= Instant::now() {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(until);
        }
    }
}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let has_begun = this.shared.reads.load(Ordering::Relaxed) != this.reads;
        if this.phase == Phase::Idle && has_begun {
            this.phase = Phase::Head;
            this.until = Instant::now() + this.shared.head;
        }
        if this.phase == Phase::Over {
            return Poll::Pending;
        }
        {
            let alarm = this.shared.alarm.lock();
            let mut alarm = alarm.unwrap_or_else(PoisonError::into_inner);
            ready!(alarm.poll(this.until, cx));
        }
        if this.phase == Phase::Head {
            return Poll::Ready(());
        }
        // Ended by whoever serves the connection, with a close that the client can tell from a failure.
        this.phase = Phase::Over;
        this.shared.over.notify_one();
        Poll::Pending
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.io).poll_read(cx, buffer))?;
        this.shared.reads.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
