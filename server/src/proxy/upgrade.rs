//! After the API server's verified 101: raw bytes both ways until either end closes or the permit is lost.

use ci_tunnel::protocol::code::Code;
use ci_tunnel::transport::splice::{Counters, Error, splice};
use ci_tunnel::transport::stream::{Receiver, Sender};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::body::code_of;
use super::limits::pace::Paced;
use super::{Slots, live};
use crate::agents::session::Running;
use crate::audit::{Ending, Record};

/// Everything that lives as long as an upgraded request.
#[derive(Debug)]
pub struct Upgraded {
    pub sender: Sender,
    pub receiver: Receiver,
    pub record: Record,
    pub live: live::Guard,
    pub slots: Slots,
    pub running: Running,
}

impl Upgraded {
    /// Waits for the client's side of the switch, then carries bytes.
    pub async fn run(mut self, client: OnUpgrade, _drain: ci_tunnel::runtime::drain::Watcher) {
        let mut counters = Counters::default();
        let cut = self.live.request().cut();
        let (sender, receiver) = (&mut self.sender, &mut self.receiver);
        let (reads, writes) = (self.slots.pace(), self.slots.pace());
        let carry = async {
            let counters = &mut counters;
            let io = TokioIo::new(client.await.map_err(std::io::Error::other)?);
            match reads.zip(writes) {
                None => splice(io, sender, receiver, counters, Code::Cancelled).await,
                Some((reads, writes)) => {
                    let io = Paced::new(io, reads, writes);
                    splice(io, sender, receiver, counters, Code::Cancelled).await
                }
            }
        };
        let result = tokio::select! {
            biased;
            () = cut.cancelled() => None,
            result = carry => Some(result),
        };
        self.record
            .sent()
            .store(counters.sent, std::sync::atomic::Ordering::Relaxed);
        self.record.received(counters.received);
        self.close(result);
        drop(self.slots);
        drop(self.running);
    }

    fn close(&mut self, result: Option<Result<(), Error>>) {
        match result {
            Some(Ok(())) => self.record.end(Ending::Complete, None),
            Some(Err(Error::Io(_))) => self.record.end(Ending::ClientGone, None),
            Some(Err(Error::Stream(error))) => {
                self.record.code(code_of(&error));
                self.record.end(Ending::Broken(error.to_string()), None);
            }
            // Cut: the reason was there before.
            None => {
                if let Some(why) = self.live.request().why() {
                    let code = why.code();
                    self.record.cut(why.label, code, Some(why.message));
                    self.sender.reset(code);
                    self.receiver.stop(code);
                }
            }
        }
    }
}
