//! Credit of request streams: what a receiver allows beyond the first bytes, and what a sender makes of it.

use bytes::Bytes;

use super::super::codec::{Malformed, Reader, Writer, numbers};

/// The most entries that [`Credit`] may carry: a message of so many fits a frame.
pub const MAX_CREDITS: usize = 512;

/// News of the credit of request streams, each a stream's number with its transport and a number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Credit {
    /// By the receiver: so many bytes more may be sent.
    pub granted: Vec<(u64, u64)>,
    /// By the sender: so many bytes of what was granted are given up.
    pub returned: Vec<(u64, u64)>,
    /// By the sender: it has more to send, and has used up all credit with so many bytes since the stream's begin.
    pub blocked: Vec<(u64, u64)>,
}

impl Credit {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.granted.is_empty() && self.returned.is_empty() && self.blocked.is_empty()
    }

    pub(super) fn encode(&self, writer: &mut Writer<'_>) {
        for (tag, entries) in [(1, &self.granted), (2, &self.returned), (3, &self.blocked)] {
            for (stream, bytes) in entries {
                writer.numbers(tag, *stream, *bytes);
            }
        }
    }

    pub(super) fn decode(payload: Bytes) -> Result<Self, Malformed> {
        let mut credit = Self::default();
        let mut reader = Reader::new(payload);
        while let Some((tag, value)) = reader.field()? {
            let entries = match tag {
                1 => &mut credit.granted,
                2 => &mut credit.returned,
                3 => &mut credit.blocked,
                _ => continue,
            };
            entries.push(numbers("credit", &value)?);
        }
        Ok(credit)
    }
}
