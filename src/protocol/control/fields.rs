//! The fields of a control message, by their tags.

use std::time::Duration;

use bytes::Bytes;

use crate::protocol::codec::{Malformed, Reader, number, text};

/// The longest text of a control message, in bytes.
const MAX_TEXT: usize = 1024;

/// The first eight tags of a message; those that are read with it have no others and repeat none.
pub(super) struct Fields(pub(super) [Option<Bytes>; 9]);

impl Fields {
    pub(super) fn read(payload: Bytes) -> Result<Self, Malformed> {
        let mut fields = Self([const { None }; 9]);
        let mut reader = Reader::new(payload);
        while let Some((tag, value)) = reader.field()? {
            if let Some(slot) = usize::try_from(tag)
                .ok()
                .and_then(|tag| fields.0.get_mut(tag))
            {
                *slot = Some(value);
            }
        }
        Ok(fields)
    }

    pub(super) fn text(&self, tag: usize, name: &'static str) -> Result<Option<String>, Malformed> {
        self.0[tag]
            .as_deref()
            .map(|value| text(name, value, MAX_TEXT))
            .transpose()
    }

    pub(super) fn required(&self, tag: usize, name: &'static str) -> Result<String, Malformed> {
        self.text(tag, name)?.ok_or(Malformed::Missing(name))
    }

    pub(super) fn number(&self, tag: usize, name: &'static str) -> Result<u64, Malformed> {
        number(
            name,
            self.0[tag].as_deref().ok_or(Malformed::Missing(name))?,
        )
    }

    pub(super) fn millis(
        &self,
        tag: usize,
        name: &'static str,
    ) -> Result<Option<Duration>, Malformed> {
        let millis = self.optional_number(tag, name)?;
        Ok(millis.map(Duration::from_millis))
    }

    pub(super) fn optional_number(
        &self,
        tag: usize,
        name: &'static str,
    ) -> Result<Option<u64>, Malformed> {
        self.0[tag]
            .as_deref()
            .map(|value| number(name, value))
            .transpose()
    }

    /// Sixty-four random bits do not fit a varint.
    pub(super) fn instance(&self) -> Result<u64, Malformed> {
        let bytes = self.0[2].as_deref().ok_or(Malformed::Missing("instance"))?;
        Ok(u64::from_be_bytes(
            bytes
                .try_into()
                .map_err(|_| Malformed::Invalid("instance"))?,
        ))
    }
}
