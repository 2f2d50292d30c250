//! Bounded reading and writing of the protocol's primitives: varints (RFC 9000, section 16) and tagged fields.
//!
//! A message's payload is a sequence of fields: a varint tag, a varint length, that many bytes. A tag the reader does
//! not know is skipped, so an older peer lives with a newer one. Nothing is allocated for a length before the bytes
//! are there.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Why bytes could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The payload ends inside a field.
    #[error("the message ends inside a field")]
    Truncated,
    /// A length is over the limit of what it measures.
    #[error("{what} of {length} bytes, at most {limit} are allowed")]
    TooLong {
        /// What was measured.
        what: &'static str,
        /// The length announced.
        length: u64,
        /// The limit it broke.
        limit: u64,
    },
    /// There are more items than allowed.
    #[error("more than {limit} {what}")]
    TooMany {
        /// What was counted.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A field that must be there is not.
    #[error("the field {0} is missing")]
    Missing(&'static str),
    /// A field's value is not one of its values.
    #[error("the field {0} has an impossible value")]
    Invalid(&'static str),
    /// A frame of a kind that may not stand here.
    #[error("a frame of kind {0:#x} may not stand here")]
    UnexpectedFrame(u64),
}

/// The largest value of a varint.
pub const MAX_VARINT: u64 = (1 << 62) - 1;

/// Appends `value` as a varint. Values over [`MAX_VARINT`] are written as [`MAX_VARINT`].
pub fn put_varint(out: &mut BytesMut, value: u64) {
    match value.min(MAX_VARINT) {
        v @ 0..=0x3f => out.put_u8(v as u8),
        v @ 0x40..=0x3fff => out.put_u16(v as u16 | 0x4000),
        v @ 0x4000..=0x3fff_ffff => out.put_u32(v as u32 | 0x8000_0000),
        v => out.put_u64(v | 0xc000_0000_0000_0000),
    }
}

/// The number of bytes that [`put_varint`] writes for `value`.
pub fn varint_len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Reads a varint from the front of `input` and says how long it was; `None` when more bytes are needed.
pub fn peek_varint(input: &[u8]) -> Option<(u64, usize)> {
    let first = *input.first()?;
    let length = 1usize << (first >> 6);
    let bytes = input.get(..length)?;
    let value = bytes[1..]
        .iter()
        .fold(u64::from(first & 0x3f), |value, byte| {
            value << 8 | u64::from(*byte)
        });
    Some((value, length))
}

/// Writes the fields of one message.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut BytesMut,
}

impl<'a> Writer<'a> {
    /// Writes behind what `out` holds.
    pub fn new(out: &'a mut BytesMut) -> Self {
        Self { out }
    }

    /// A field of bytes.
    pub fn bytes(&mut self, tag: u64, value: &[u8]) {
        put_varint(self.out, tag);
        put_varint(self.out, value.len() as u64);
        self.out.put_slice(value);
    }

    /// A field that holds a varint.
    pub fn number(&mut self, tag: u64, value: u64) {
        put_varint(self.out, tag);
        put_varint(self.out, varint_len(value) as u64);
        put_varint(self.out, value);
    }

    /// A field of bytes if there is a value.
    pub fn optional(&mut self, tag: u64, value: Option<&str>) {
        if let Some(value) = value {
            self.bytes(tag, value.as_bytes());
        }
    }

    /// A field that holds a varint, if there is one.
    pub fn optional_number(&mut self, tag: u64, value: Option<u64>) {
        if let Some(value) = value {
            self.number(tag, value);
        }
    }

    /// A field that holds two varints.
    pub fn numbers(&mut self, tag: u64, first: u64, second: u64) {
        put_varint(self.out, tag);
        put_varint(self.out, (varint_len(first) + varint_len(second)) as u64);
        put_varint(self.out, first);
        put_varint(self.out, second);
    }

    /// A field that holds a name and a value: the name's length as a varint, the name, the value.
    pub fn pair(&mut self, tag: u64, name: &[u8], value: &[u8]) {
        put_varint(self.out, tag);
        put_varint(
            self.out,
            (varint_len(name.len() as u64) + name.len() + value.len()) as u64,
        );
        put_varint(self.out, name.len() as u64);
        self.out.put_slice(name);
        self.out.put_slice(value);
    }
}

/// Reads the fields of one message, whole in memory.
#[derive(Debug)]
pub struct Reader {
    rest: Bytes,
}

impl Reader {
    /// Reads the fields of `payload`.
    pub fn new(payload: Bytes) -> Self {
        Self { rest: payload }
    }

    /// The next field's tag and value; `None` at the end.
    pub fn field(&mut self) -> Result<Option<(u64, Bytes)>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let length = self.varint()?;
        let length = usize::try_from(length).map_err(|_| Malformed::Truncated)?;
        if length > self.rest.len() {
            return Err(Malformed::Truncated);
        }
        Ok(Some((tag, self.rest.split_to(length))))
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let (value, length) = peek_varint(&self.rest).ok_or(Malformed::Truncated)?;
        self.rest.advance(length);
        Ok(value)
    }
}

/// The varint that a field holds, and nothing else.
pub fn number(name: &'static str, value: &[u8]) -> Result<u64, Malformed> {
    match peek_varint(value) {
        Some((number, length)) if length == value.len() => Ok(number),
        _ => Err(Malformed::Invalid(name)),
    }
}

/// The two varints that a field holds, and nothing else.
pub fn numbers(name: &'static str, value: &[u8]) -> Result<(u64, u64), Malformed> {
    let (first, length) = peek_varint(value).ok_or(Malformed::Invalid(name))?;
    Ok((first, number(name, &value[length..])?))
}

/// The UTF-8 text that a field holds, `limit` bytes at most, without control characters.
pub fn text(name: &'static str, value: &[u8], limit: usize) -> Result<String, Malformed> {
    if value.len() > limit {
        return Err(Malformed::TooLong {
            what: name,
            length: value.len() as u64,
            limit: limit as u64,
        });
    }
    let text = std::str::from_utf8(value).map_err(|_| Malformed::Invalid(name))?;
    if text.chars().any(char::is_control) {
        return Err(Malformed::Invalid(name));
    }
    Ok(text.to_owned())
}

/// The name and the value that a pair holds.
pub fn pair(name: &'static str, value: &Bytes) -> Result<(Bytes, Bytes), Malformed> {
    let (length, at) = peek_varint(value).ok_or(Malformed::Invalid(name))?;
    let end = usize::try_from(length)
        .ok()
        .and_then(|length| at.checked_add(length));
    match end {
        Some(end) if end <= value.len() => Ok((value.slice(at..end), value.slice(end..))),
        _ => Err(Malformed::Invalid(name)),
    }
}
