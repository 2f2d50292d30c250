//! The control stream: messages out, messages in.

use bytes::BytesMut;
use ci_tunnel::protocol::MAX_CONTROL_FRAME;
use ci_tunnel::protocol::codec::Malformed;
use ci_tunnel::protocol::control::Message;
use ci_tunnel::transport::stream::{self, Receiver, Sender};

use super::Error;

/// Above every request.
const PRIORITY: i32 = 1;

#[derive(Debug)]
pub(super) struct Control {
    sender: Sender,
    receiver: Receiver,
}

impl Control {
    pub(super) fn new(sender: Sender, receiver: Receiver) -> Self {
        sender.set_priority(PRIORITY);
        Self { sender, receiver }
    }

    pub(super) async fn send(&mut self, message: &Message) -> Result<(), stream::Error> {
        let mut out = BytesMut::new();
        message.encode(&mut out);
        self.sender.write(out.freeze()).await
    }

    /// The next message of a kind we know. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> Result<Message, Error> {
        loop {
            let frame = self
                .receiver
                .frame(MAX_CONTROL_FRAME)
                .await
                .map_err(Error::from)?;
            let (kind, payload) = frame.ok_or(Malformed::Truncated)?;
            if let Some(message) = Message::decode(kind, payload)? {
                return Ok(message);
            }
        }
    }
}
