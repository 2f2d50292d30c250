//! When a file is closed, and which closed ones may go.

use std::time::Duration;

use jiff::Timestamp;

use super::config::Rotate;
use super::files::Rotated;

/// Whether a file of `length` bytes must be closed before `more` bytes are added.
pub(super) fn is_full(settings: &Rotate, length: u64, more: u64) -> bool {
    settings
        .size
        .is_some_and(|size| length > 0 && length + more > size.as_u64())
}

/// Whether a file that was begun at `begun` is of a period before that of `now`.
pub(super) fn is_old(settings: &Rotate, begun: Timestamp, now: Timestamp) -> bool {
    settings
        .every
        .is_some_and(|every| period(every, now) > period(every, begun))
}

/// How long the period of `now` still lasts.
pub(super) fn left(settings: &Rotate, now: Timestamp) -> Option<Duration> {
    let every = settings.every?;
    let length = i64::try_from(every.as_secs()).ok()?;
    let next = (period(every, now) + 1).checked_mul(length)?;
    let next = Timestamp::from_second(next).ok()?;
    Duration::try_from(next.duration_since(now)).ok()
}

/// Those of `closed`, which are in order, that are not to be kept.
pub(super) fn superfluous<'a>(
    settings: &Rotate,
    closed: &'a [Rotated],
    now: Timestamp,
) -> &'a [Rotated] {
    let too_many = settings
        .keep
        .map_or(0, |keep| closed.len().saturating_sub(keep));
    let too_old = settings.keep_for.map_or(0, |keep| {
        let old = |file: &Rotated| match Duration::try_from(now.duration_since(file.closed)) {
            Ok(age) => age > keep,
            // Closed after now: the clock was set back.
            Err(_) => false,
        };
        closed.iter().take_while(|file| old(file)).count()
    });
    &closed[..too_many.max(too_old)]
}

fn period(every: Duration, time: Timestamp) -> i64 {
    let length = i64::try_from(every.as_secs()).unwrap_or(i64::MAX).max(1);
    time.as_second().div_euclid(length)
}

#[cfg(test)]
mod tests {
    use ci_tunnel::config::value::ByteSize;

    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn every(seconds: u64) -> Rotate {
        Rotate {
            every: Some(Duration::from_secs(seconds)),
            ..Rotate::default()
        }
    }

    #[test]
    fn by_size() {
        let settings = Rotate {
            size: Some(ByteSize::bytes(100)),
            ..Rotate::default()
        };
        assert!(!is_full(&settings, 50, 50) && is_full(&settings, 50, 51));
        assert!(!is_full(&settings, 0, 1000), "a line must go somewhere");
        assert!(!is_full(&every(60), 1 << 40, 1));
    }

    #[test]
    fn by_time_at_midnight_and_at_full_hours() {
        let (day, hour) = (every(86_400), every(3600));
        let (evening, night) = (time("2026-11-23T23:59:59Z"), time("2026-11-24T00:00:00Z"));
        assert!(is_old(&day, evening, night) && is_old(&hour, evening, night));
        let noon = time("2026-11-23T12:00:00Z");
        assert!(!is_old(&day, noon, evening) && is_old(&hour, noon, evening));
        // A clock that was set back closes nothing.
        assert!(!is_old(&day, night, evening));
        assert_eq!(left(&day, noon), Some(Duration::from_secs(12 * 3600)));
        assert_eq!(
            left(&hour, time("2026-11-23T12:59:59.500Z")),
            Some(Duration::from_millis(500))
        );
        assert_eq!(left(&Rotate::default(), noon), None);
    }

    #[test]
    fn what_is_kept() {
        let file = |closed: &str| Rotated {
            closed: time(closed),
            last: 1,
            path: closed.into(),
        };
        let closed = [
            file("2026-11-01T00:00:00Z"),
            file("2026-11-02T00:00:00Z"),
            file("2026-11-03T00:00:00Z"),
        ];
        let now = time("2026-11-04T00:00:00Z");
        let days = |days: u64| Some(Duration::from_secs(days * 86_400));
        for (keep, keep_for, gone) in [
            (None, None, 0),
            (Some(2), None, 1),
            (Some(9), None, 0),
            (None, days(1), 2),
            (None, days(9), 0),
            (Some(1), days(2), 2),
            (Some(2), days(1), 2),
        ] {
            let settings = Rotate {
                keep,
                keep_for,
                ..Rotate::default()
            };
            assert_eq!(
                superfluous(&settings, &closed, now).len(),
                gone,
                "{keep:?} {keep_for:?}"
            );
        }
        assert!(
            superfluous(
                &Rotate {
                    keep_for: days(1),
                    ..Rotate::default()
                },
                &closed,
                time("2020-01-01T00:00:00Z")
            )
            .is_empty()
        );
    }
}
