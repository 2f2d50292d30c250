//! What carries a connection's bytes, until its end: one task a connection, and one for its last words.

use std::pin::pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::alive::Alive;
use super::state::State;
use super::{CONNECTION, CONTROL, Halves, REQUEST, stream};
use crate::protocol::MAX_CONTROL_FRAME;
use crate::protocol::control::Message;
use crate::transport::connection::Closed;
use crate::transport::stream::{Error, Receiver, Sender};

/// Where the agent's end hands new streams.
#[derive(Debug)]
pub(super) struct Doors {
    pub(super) control: mpsc::Sender<Halves>,
    pub(super) streams: mpsc::Sender<Halves>,
    pub(super) tasks: TaskTracker,
}

/// The server's end.
pub(super) async fn to_agent<T>(
    mut connection: h2::client::Connection<T, Bytes>,
    state: Arc<State>,
    alive: Alive,
) where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let closed = {
        let (mut silent, mut lingered) = (pin!(alive.watch()), pin!(state.lingered()));
        loop {
            tokio::select! {
                biased;
                ended = &mut connection => break state.broke(ended.err().as_ref()),
                () = &mut lingered => break state.broke(None),
                closed = &mut silent => break closed,
                window = state.widened() => told(connection.set_initial_window_size(window)),
            }
        }
    };
    state.end(closed);
}

/// The agent's end.
pub(super) async fn to_server<T>(
    mut connection: h2::server::Connection<T, Bytes>,
    state: Arc<State>,
    alive: Alive,
    doors: Doors,
) where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut silent = pin!(alive.watch());
    let mut lingered = pin!(state.lingered());
    let closed = loop {
        tokio::select! {
            biased;
            accepted = connection.accept() => match accepted {
                Some(Ok((request, answer))) => doors.take(&state, request, answer),
                Some(Err(error)) => break state.broke(Some(&error)),
                None => break state.broke(None),
            },
            () = &mut lingered => break state.broke(None),
            closed = &mut silent => break closed,
            window = state.widened() => told(connection.set_initial_window_size(window)),
        }
    };
    // Known before the streams notice: their errors say how the connection ended.
    state.end(closed);
}

/// An error says that the peer has not yet acknowledged the window that there is, and that one is kept.
fn told(outcome: Result<(), h2::Error>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "streams keep their first window");
    }
}

impl Doors {
    fn take(
        &self,
        state: &Arc<State>,
        request: Request<RecvStream>,
        mut answer: SendResponse<Bytes>,
    ) {
        let path = request.uri().path();
        let counted = path == REQUEST;
        let door = match path {
            REQUEST => &self.streams,
            CONTROL => &self.control,
            CONNECTION => {
                let (sender, receiver) =
                    stream::accepted(state, answer, request.into_body(), false);
                self.tasks
                    .spawn(last_words(Arc::clone(state), sender, receiver));
                return;
            }
            _ => return answer.send_reset(Reason::REFUSED_STREAM),
        };
        let Ok(place) = door.try_reserve() else {
            return answer.send_reset(Reason::REFUSED_STREAM);
        };
        place.send(stream::accepted(
            state,
            answer,
            request.into_body(),
            counted,
        ));
    }
}

/// Says why this side closes the connection, or hears why the other does.
pub(super) async fn last_words(state: Arc<State>, mut sender: Sender, mut receiver: Receiver) {
    tokio::select! {
        biased;
        _ = state.closed() => {}
        heard = hear(&mut receiver) => if let Ok(closed) = heard {
            state.end(closed);
        }
    }
    if let Some(close) = state.last_words() {
        let mut out = BytesMut::new();
        Message::Close(close.clone()).encode(&mut out);
        // An error says that the connection is gone already.
        if sender.write(out.freeze()).await.is_ok() {
            sender.finish();
        }
    }
    // Dropped sooner the stream would be reset, and what it says be lost.
    while let Ok(Some(_)) = receiver.raw().await {}
    state.closed().await;
}

async fn hear(receiver: &mut Receiver) -> Result<Closed, Error> {
    while let Some((kind, payload)) = receiver.frame(MAX_CONTROL_FRAME).await? {
        if let Some(Message::Close(close)) = Message::decode(kind, payload)? {
            return Ok(Closed {
                code: close.code,
                reason: close.reason,
                said: true,
            });
        }
    }
    // It ended without a word, as it does when the connection breaks; whoever drives it knows more.
    std::future::pending().await
}
