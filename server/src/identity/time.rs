//! Times in what people read: `2026-01-31T12:00:00Z`.

use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serializer, ser};

pub(super) fn serialize<S: Serializer>(
    time: &Option<SystemTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => {
            let time = Timestamp::try_from(*time).map_err(ser::Error::custom)?;
            serializer.collect_str(&format_args!("{time:.0}"))
        }
        None => serializer.serialize_none(),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SystemTime>, D::Error> {
    let time = Option::<Timestamp>::deserialize(deserializer)?;
    Ok(time.map(SystemTime::from))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use crate::identity::JobIdentity;

    #[test]
    fn the_end_of_a_credential_is_readable() {
        let text = r#"{"provider":"local","project":{"path":"acme/shop"},"groups":[],"expires_at":"2027-01-15T08:00:00Z"}"#;
        let job: JobIdentity = serde_json::from_str(text).unwrap();
        let end = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        assert_eq!(job.expires_at, Some(end));
        let value = serde_json::to_value(&job).unwrap();
        assert_eq!(value["expires_at"], "2027-01-15T08:00:00Z");
    }
}
