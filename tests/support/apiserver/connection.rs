//! One connection to the stand-in: TLS, HTTP by what ALPN agreed on, and a tap on what the client sends.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::recorder::{Recorder, Wire};
use super::{State, routes};
use crate::deadline::within;

/// What a request can know of, and do to, the connection it came on.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) number: u64,
    /// Counts completed flushes.
    flushed: watch::Sender<u64>,
    cut: Notify,
    recorder: Recorder,
}

impl Peer {
    pub(super) async fn serve(stream: TcpStream, tls: TlsAcceptor, state: Arc<State>) {
        let _ = stream.set_nodelay(true);
        // A client that fails the handshake is not worth more than its absence from the record.
        let Ok(Ok(stream)) = within("TLS handshake", tls.accept(stream)).await else {
            return;
        };
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let (number, wire) = state
            .recorder
            .connected(if http2 { "h2" } else { "http/1.1" }.to_owned());
        let peer = Arc::new(Self {
            number,
            flushed: watch::Sender::new(0),
            cut: Notify::new(),
            recorder: state.recorder.clone(),
        });
        let io = TokioIo::new(Tap {
            stream,
            wire,
            peer: Arc::clone(&peer),
        });
        tokio::select! {
            () = peer.cut.notified() => {}
            () = Box::pin(speak(io, http2, state, Arc::clone(&peer))) => {}
        }
    }

    /// Closes the TCP connection once everything handed to hyper so far has been written.
    pub(super) fn cut_after_flush(self: Arc<Self>) {
        // Subscribed here and not in the task, which runs only after the flush it must see.
        let mut flushed = self.flushed.subscribe();
        tokio::spawn(async move {
            if flushed.changed().await.is_ok() {
                self.cut.notify_one();
            }
        });
    }
}

async fn speak(io: TokioIo<Tap>, http2: bool, state: Arc<State>, peer: Arc<Peer>) {
    let service = service_fn(move |request| {
        let (state, peer) = (Arc::clone(&state), Arc::clone(&peer));
        async move { Ok::<_, Infallible>(routes::answer(state, peer, request).await) }
    });
    // How a connection ended is seen in the record of its requests; the error itself tells nothing more.
    if http2 {
        let _ = http2::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(1024)
            .serve_connection(io, service)
            .await;
    } else {
        let _ = http1::Builder::new()
            .serve_connection(io, service)
            .with_upgrades()
            .await;
    }
}

/// Copies what the client sends into the record, and tells when flushes complete. As long as it lives the connection is open.
struct Tap {
    stream: TlsStream<TcpStream>,
    wire: Wire,
    peer: Arc<Peer>,
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.peer.recorder.disconnected(self.peer.number);
    }
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.wire.append(&buf.filled()[before..]);
        polled
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.peer.flushed.send_modify(|count| *count += 1);
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
