//! Durations as people write them: `500ms`, `90s`, `5m`, `1h30m`, `90d`.
//!
//! For a field: `#[serde(with = "ci_tunnel::config::value::duration")]`.

use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::ser::Serializer;

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration: write a number with a unit, as 500ms, 90s, 5m, 1h30m or 90d")]
pub struct Error(String);

/// The units from large to small, in milliseconds; a text names them in this order, each at most once.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads a duration; fit for clap's `value_parser`.
///
/// # Errors
/// A number without a unit, an unknown unit, units out of order, or more than fits.
pub fn parse(text: &str) -> Result<Duration, Error> {
    read(text.trim()).ok_or_else(|| Error(text.to_owned()))
}

fn read(mut rest: &str) -> Option<Duration> {
    let mut millis = 0_u64;
    let mut allowed = UNITS.as_slice();
    while !rest.is_empty() || allowed.len() == UNITS.len() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = after.split_at(
            after
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(after.len()),
        );
        let position = allowed.iter().position(|(name, _)| *name == unit)?;
        millis = millis.checked_add(
            number
                .parse::<u64>()
                .ok()?
                .checked_mul(allowed[position].1)?,
        )?;
        allowed = &allowed[position + 1..];
        rest = after;
    }
    Some(Duration::from_millis(millis))
}

/// `duration` in the notation that [`parse`] reads, to the millisecond.
#[must_use]
pub fn format(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, length) in UNITS {
        if millis >= length {
            text.push_str(&format!("{}{unit}", millis / length));
            millis %= length;
        }
    }
    text
}

/// Writes the field.
///
/// # Errors
/// The serializer's own.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

/// Reads the field.
///
/// # Errors
/// The value is no duration; a bare number is told which units there are.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(TextVisitor)
}

/// The same for an `Option<Duration>`, with `#[serde(default, with = "…::duration::option")]`.
pub mod option {
    use std::time::Duration;

    use serde::de::{self, Deserializer, Visitor};
    use serde::ser::Serializer;

    /// Writes the field.
    ///
    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_some(&super::format(*duration)),
            None => serializer.serialize_none(),
        }
    }

    /// Reads the field; `null` is none.
    ///
    /// # Errors
    /// The value is no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        deserializer.deserialize_option(OptionVisitor)
    }

    struct OptionVisitor;

    impl<'de> Visitor<'de> for OptionVisitor {
        type Value = Option<Duration>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            super::TextVisitor.expecting(f)
        }

        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(
            self,
            deserializer: D,
        ) -> Result<Self::Value, D::Error> {
            super::deserialize(deserializer).map(Some)
        }
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a duration with a unit, as 500ms, 90s, 5m, 1h30m or 90d")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::from_str;

    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    struct File {
        #[serde(with = "super")]
        wait: Duration,
        #[serde(default, with = "super::option")]
        grace: Option<Duration>,
    }

    #[test]
    fn reads_what_people_write() {
        for (text, millis) in [
            ("500ms", 500),
            ("0s", 0),
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("90d", 7_776_000_000),
            ("1d2h3m4s5ms", 93_784_005),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
            assert_eq!(
                parse(&format(Duration::from_millis(millis))),
                Ok(Duration::from_millis(millis))
            );
        }
    }

    #[test]
    fn refuses_the_rest_and_says_what_to_write() {
        for text in [
            "",
            "90",
            "s",
            "1.5h",
            "-1s",
            "1h 30m",
            "30m1h",
            "1s1s",
            "1w",
            "5M",
            "99999999999999999999s",
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("1h30m"), "{text}: {error}");
        }
        assert!(parse("213503982335d").is_err());
    }

    #[test]
    fn is_a_field() {
        let file: File = from_str("wait: 1m30s\ngrace: 5s", "f.yaml").unwrap();
        assert_eq!(
            (file.wait, file.grace),
            (Duration::from_secs(90), Some(Duration::from_secs(5)))
        );
        assert_eq!(
            serde_json::to_string(&file).unwrap(),
            r#"{"wait":"1m30s","grace":"5s"}"#
        );
        assert_eq!(from_str::<File>("wait: 1s", "f.yaml").unwrap().grace, None);
        assert_eq!(
            from_str::<File>("{wait: 1s, grace: null}", "f.yaml")
                .unwrap()
                .grace,
            None
        );
        for text in ["wait: 90", "{wait: 1s, grace: 90}"] {
            let error = from_str::<File>(text, "f.yaml").unwrap_err().to_string();
            assert!(error.contains("1h30m"), "{error}");
        }
    }
}
