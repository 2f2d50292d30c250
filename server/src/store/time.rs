//! Times as the database keeps them: whole seconds since 1970 UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `time` in whole seconds; before 1970 is 1970, which no row needs.
pub(super) fn to_seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

pub(super) fn from_seconds(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
