//! Sizes in bytes as people write them: `64KiB`, `1MiB`, `10MB`.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// Why a text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a size: write a whole number of bytes or with a unit, as 64KiB, 1MiB or 10MB"
)]
pub struct Error(String);

/// A number of bytes. `KiB`, `MiB`, `GiB` are powers of 1024; `kB`, `MB`, `GB` of 1000; the `B` may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// So many bytes.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many times 1024 bytes.
    #[must_use]
    pub const fn kib(count: u32) -> Self {
        Self(count as u64 * 1024)
    }

    /// So many times 1024 × 1024 bytes.
    #[must_use]
    pub const fn mib(count: u32) -> Self {
        Self(count as u64 * 1024 * 1024)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The number of bytes, for lengths in memory; more than fits is the most that fits.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Units without their `B`; the larger binary ones first, so that printing finds the shortest form.
const UNITS: [(&str, u64); 6] = [
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
];

impl FromStr for ByteSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        read(text.trim())
            .map(Self)
            .ok_or_else(|| Error(text.to_owned()))
    }
}

fn read(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    );
    let unit = unit.trim_start();
    let unit = unit.strip_suffix('B').unwrap_or(unit);
    let factor = match unit {
        "" => 1,
        "K" => 1_000,
        _ => UNITS.iter().find(|(name, _)| *name == unit)?.1,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS
            .iter()
            .find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor))
        {
            Some((unit, factor)) => write!(f, "{}{unit}B", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = ByteSize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size, as 64KiB, 1MiB or 10MB")
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
        Ok(ByteSize(bytes))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        for (text, bytes, printed) in [
            ("0", 0, "0B"),
            ("17", 17, "17B"),
            ("17B", 17, "17B"),
            ("64KiB", 65_536, "64KiB"),
            ("64Ki", 65_536, "64KiB"),
            ("1 MiB", 1_048_576, "1MiB"),
            ("2GiB", 2_147_483_648, "2GiB"),
            ("10MB", 10_000_000, "10MB"),
            ("3kB", 3_000, "3kB"),
            ("3KB", 3_000, "3kB"),
            ("1G", 1_000_000_000, "1GB"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(
                (size.as_u64(), size.to_string().as_str()),
                (bytes, printed),
                "{text}"
            );
            assert_eq!(printed.parse(), Ok(size));
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "B",
            "MiB",
            "1.5MiB",
            "-1",
            "1mib",
            "1TB",
            "10 MB x",
            "99999999999GiB",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn is_a_field() {
        let sizes: Vec<ByteSize> =
            crate::config::load::from_str("[64KiB, 1024, '5']", "f.yaml").unwrap();
        assert_eq!(
            sizes,
            [ByteSize::kib(64), ByteSize::kib(1), ByteSize::bytes(5)]
        );
        assert_eq!(
            serde_json::to_string(&sizes).unwrap(),
            r#"["64KiB","1KiB","5B"]"#
        );
        let error = crate::config::load::from_str::<ByteSize>("-5", "f.yaml")
            .unwrap_err()
            .to_string();
        assert!(error.contains("64KiB"), "{error}");
    }
}
