//! The sending half's part: what was sent, and what may be sent now.

use std::sync::Arc;

use super::{Credit, Gate};

/// What a sender spends.
#[derive(Debug)]
pub(in crate::transport) struct Outgoing {
    credit: Arc<Credit>,
    stream: u64,
    sent: u64,
    /// Once much is sent.
    gate: Option<Arc<Gate>>,
}

impl Outgoing {
    pub(in crate::transport) fn new(credit: Arc<Credit>, stream: u64) -> Self {
        Self {
            credit,
            stream,
            sent: 0,
            gate: None,
        }
    }

    /// Whether `bytes` may be sent now, all of them; then they count as sent.
    pub(in crate::transport) fn may_send(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        if self.gate.is_none()
            && self.sent + bytes <= Credit::unnoticed(self.credit.terms.peer_first)
        {
            self.sent += bytes;
            return true;
        }
        self.gate().take_all(bytes)
    }

    /// How many of `bytes` may be sent, at least one; waits for credit when there is none. Cancelled, it loses nothing.
    pub(in crate::transport) async fn some_of(&mut self, bytes: usize) -> usize {
        let (credit, stream) = (Arc::clone(&self.credit), self.stream);
        let gate = self.gate();
        loop {
            match gate.take(bytes as u64) {
                0 => {
                    credit.say_blocked(stream, gate.sent());
                    gate.opened().await;
                }
                // Not more than was asked for.
                some => return usize::try_from(some).unwrap_or(bytes),
            }
        }
    }

    fn gate(&mut self) -> &Gate {
        let (credit, stream, sent) = (&self.credit, self.stream, self.sent);
        self.gate
            .get_or_insert_with(|| credit.open_gate(stream, sent))
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if self.gate.is_some() {
            self.credit.close_gate(self.stream);
        }
    }
}
