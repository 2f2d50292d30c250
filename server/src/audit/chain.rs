//! The hash chain: each line carries its number, the hash of the line before it, and its own hash.
//!
//! `{"seq":2,"prev":"<hash of line 1>",…,"hash":"<hash of this line>"}`. A line's hash is SHA-256, or HMAC-SHA-256 with
//! a key, over its bytes up to `,"hash":`; so it covers the hash before it, and through that every line before it.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use aws_lc_rs::{digest, hmac};
use ci_tunnel::config::value::{Secret, SecretError};

/// How lines are hashed.
#[derive(Debug, Clone)]
pub enum Mac {
    Sha256,
    HmacSha256(Box<hmac::Key>),
}

/// Why a file holds no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(
        "{}: the key has fewer than {MIN_KEY} characters; make one with `openssl rand -hex 32`",
        .0.display()
    )]
    Short(PathBuf),
}

/// A hash as lines carry it: lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; DIGITS]);

/// The last line of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub seq: u64,
    pub hash: Hash,
}

/// Adds lines to a chain.
#[derive(Debug)]
pub(super) struct Chain {
    mac: Mac,
    head: Head,
}

/// A line of a chain, taken apart. Whether it is what it says is not yet known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sealed<'a> {
    pub(super) seq: u64,
    pub(super) prev: Hash,
    /// What the hash is over.
    pub(super) body: &'a [u8],
    pub(super) hash: Hash,
}

const DIGITS: usize = 64;
const MIN_KEY: usize = 16;
/// The most bytes that sealing adds to a line.
pub(super) const OVERHEAD: u64 = 2 * DIGITS as u64 + 48;

impl Mac {
    /// With the key of `file`, or without one.
    ///
    /// # Errors
    /// The file can not be read, or holds too little.
    pub fn new(file: Option<&Path>) -> Result<Self, KeyError> {
        let Some(file) = file else {
            return Ok(Self::Sha256);
        };
        let secret = Secret::from_file(file)?;
        let key = secret.expose().as_bytes();
        if key.len() < MIN_KEY {
            return Err(KeyError::Short(file.to_owned()));
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        Ok(Self::HmacSha256(Box::new(key)))
    }

    /// As the line of a start names it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::HmacSha256(_) => "hmac-sha256",
        }
    }

    pub(super) fn hash(&self, bytes: &[u8]) -> Hash {
        match self {
            Self::Sha256 => Hash::of(digest::digest(&digest::SHA256, bytes).as_ref()),
            Self::HmacSha256(key) => Hash::of(hmac::sign(key, bytes).as_ref()),
        }
    }
}

impl Hash {
    /// What stands in place of the hash before the first line.
    pub(super) const NONE: Self = Self([b'0'; DIGITS]);

    fn of(bytes: &[u8]) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [b'0'; DIGITS];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        Self(digits)
    }

    pub(super) fn parse(digits: &[u8]) -> Option<Self> {
        let valid = digits
            .iter()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        let digits = digits.try_into().ok()?;
        valid.then_some(Self(digits))
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits are ASCII")
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Head {
    type Err = &'static str;

    /// As `audit verify` prints it: `<number>:<hash>`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once(':').and_then(|(seq, hash)| {
            Some(Self {
                seq: seq.parse().ok()?,
                hash: Hash::parse(hash.as_bytes())?,
            })
        });
        parsed
            .ok_or("must be a line's number and its hash, as `audit verify` prints them: 12:0a1b…")
    }
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

impl Head {
    /// Before the first line.
    pub(super) const NONE: Self = Self {
        seq: 0,
        hash: Hash::NONE,
    };
}

impl Chain {
    pub(super) fn new(mac: Mac, head: Head) -> Self {
        Self { mac, head }
    }

    pub(super) fn head(&self) -> Head {
        self.head
    }

    pub(super) fn mac(&self) -> &Mac {
        &self.mac
    }

    /// Appends a line, sealed, to `out`. `line` is a JSON object that is not empty, without an end of line.
    pub(super) fn seal(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let inner = line
            .strip_prefix(b"{")
            .and_then(|line| line.strip_suffix(b"}"))
            .expect("a record is a JSON object");
        let seq = self.head.seq + 1;
        let begin = out.len();
        out.extend_from_slice(b"{\"seq\":");
        out.extend_from_slice(seq.to_string().as_bytes());
        out.extend_from_slice(b",\"prev\":\"");
        out.extend_from_slice(&self.head.hash.0);
        out.extend_from_slice(b"\",");
        out.extend_from_slice(inner);
        let hash = self.mac.hash(&out[begin..]);
        out.extend_from_slice(b",\"hash\":\"");
        out.extend_from_slice(&hash.0);
        out.extend_from_slice(b"\"}\n");
        self.head = Head { seq, hash };
    }
}

impl<'a> Sealed<'a> {
    /// `None` for what is no line of a chain.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        const END: usize = 9 + DIGITS + 2;
        let rest = line.strip_prefix(b"{\"seq\":")?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (seq, rest) = rest.split_at(digits);
        let rest = rest.strip_prefix(b",\"prev\":\"")?;
        let (prev, rest) = rest.split_at_checked(DIGITS)?;
        rest.strip_prefix(b"\",")?;
        let (body, end) = line.split_at(line.len().checked_sub(END)?);
        let hash = end.strip_prefix(b",\"hash\":\"")?.strip_suffix(b"\"}")?;
        if seq.first() == Some(&b'0') || body.len() < line.len() - rest.len() {
            return None;
        }
        Some(Self {
            seq: std::str::from_utf8(seq).ok()?.parse().ok()?,
            prev: Hash::parse(prev)?,
            body,
            hash: Hash::parse(hash)?,
        })
    }

    pub(super) fn head(&self) -> Head {
        Head {
            seq: self.seq,
            hash: self.hash,
        }
    }
}

#[cfg(test)]
mod tests;
