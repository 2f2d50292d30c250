//! The same promises over either transport.

mod credit;
mod ends;
mod flow;
pub(super) mod pair;
mod relay;
mod streams;

use std::time::Duration;

use bytes::Bytes;

use super::stream::{Piece, Receiver, Sender};

/// For what must come; nothing here takes long.
pub(super) const SOON: Duration = Duration::from_secs(20);

/// Makes of each case a test over QUIC and one over HTTP/2.
macro_rules! over_both {
    ($($case:ident),* $(,)?) => {
        mod quic {
            $(#[tokio::test]
            async fn $case() {
                super::$case(crate::transport::connection::Transport::Quic).await;
            })*
        }
        mod http2 {
            $(#[tokio::test]
            async fn $case() {
                super::$case(crate::transport::connection::Transport::Http2).await;
            })*
        }
    };
}
pub(super) use over_both;

/// The rest of a body.
pub(super) async fn body(receiver: &mut Receiver) -> Result<Vec<u8>, super::stream::Error> {
    let mut whole = Vec::new();
    while let Some(piece) = receiver.body().await? {
        if let Piece::Data(data) = piece {
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole)
}

/// Sends back what comes, and ends when it ends.
pub(super) async fn echo(mut sender: Sender, mut receiver: Receiver) {
    while let Ok(Some(bytes)) = receiver.raw().await {
        if sender.write(bytes).await.is_err() {
            return;
        }
    }
    sender.finish();
}

/// Sends `text` over a new stream to an echo and reads it back.
pub(super) async fn ask((mut sender, mut receiver): (Sender, Receiver), text: &'static str) {
    sender
        .write(Bytes::from_static(text.as_bytes()))
        .await
        .unwrap();
    sender.finish();
    let mut answer = Vec::new();
    while let Some(bytes) = receiver.raw().await.unwrap() {
        answer.extend_from_slice(&bytes);
    }
    assert_eq!(answer, text.as_bytes());
}
