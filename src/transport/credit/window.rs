//! How much of one stream its receiver allows, as arithmetic: no clock, no lock, no socket.
//!
//! The window begins small and doubles when the sender was held back although the reader had taken everything: then it may
//! be the window that is too small for the path. It is not where a window takes many round trips to pass: there the two ends
//! or other streams hold it back, and more bytes under way would only be more that others wait behind. A reader that is slow,
//! or stalls, never makes it grow.

use std::time::Duration;

use tokio::time::Instant;

/// What a stream's receiver has allowed and taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    first: u64,
    most: u64,
    /// How much may be sent ahead of the reader.
    size: u64,
    /// Bytes that the reader has taken since the stream's begin.
    read: u64,
    /// Bytes that may be sent since the stream's begin.
    limit: u64,
    /// The reader waits for bytes.
    waits: bool,
    /// It is kept from reading on purpose.
    excused: bool,
    /// With so many bytes the sender had used up what it knew of its credit.
    blocked: Option<u64>,
    /// When it was last held back, and with how many bytes.
    mark: (Instant, u64),
}

/// When a window is looked at, and how far the peer is, if that is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) round_trip: Option<Duration>,
}

/// Up to so many bytes a window grows whatever the path: the two ends' turns on a busy processor take as long as a window of
/// this size.
const SURE: u64 = 256 * 1024;
/// A window that passes in fewer round trips than this may be what its sender waits for.
const ROUND_TRIPS: u32 = 4;

impl Window {
    /// A stream of which `read` bytes were taken, `first` may be sent unasked, and never more than `most` may lie unread.
    pub(super) fn new(first: u64, most: u64, read: u64, now: Instant) -> Self {
        Self {
            first,
            most: most.max(first),
            size: first,
            read,
            limit: first,
            waits: false,
            excused: false,
            blocked: None,
            mark: (now, read),
        }
    }

    /// The reader has taken `bytes`.
    pub(super) fn took(&mut self, bytes: u64) {
        self.read += bytes;
        (self.waits, self.excused) = (false, false);
    }

    /// The reader finds nothing to take.
    pub(super) fn waits(&mut self) {
        self.waits = true;
    }

    /// The reader is kept from taking more, until it does.
    pub(super) fn excuse(&mut self) {
        self.excused = true;
    }

    /// The sender says that it was held back with `sent` bytes.
    pub(super) fn blocked(&mut self, sent: u64) {
        self.blocked = Some(sent);
    }

    /// The sender gives up `bytes` of its credit; how much less than before the stream now holds.
    pub(super) fn returned(&mut self, bytes: u64) -> u64 {
        // A peer that gives up more than it can have is not believed.
        self.limit -= bytes.min(self.limit.saturating_sub(self.read));
        let before = self.size;
        let unread = self.limit.saturating_sub(self.read);
        self.size = unread.max(self.first).min(before);
        before - self.size
    }

    /// What the sender is to be granted now. `take` is asked for room whenever the window would grow.
    pub(super) fn grant(&mut self, moment: Moment, take: impl FnOnce(u64) -> bool) -> Option<u64> {
        if self.held_back() {
            self.blocked = None;
            let more = self.size.min(self.most - self.size);
            if more > 0 && self.is_too_small(moment) && take(more) {
                self.size += more;
            }
            self.mark = (moment.now, self.read);
        }
        // What overtakes its credit is the transport's to refuse.
        let ahead = self.limit.saturating_sub(self.read);
        if ahead > self.size / 2 {
            return None;
        }
        let before = self.limit;
        self.limit = self.read + self.size;
        Some(self.limit.saturating_sub(before)).filter(|granted| *granted > 0)
    }

    /// The stream is over; how much it no longer holds.
    pub(super) fn end(&mut self) -> u64 {
        let extra = self.extra();
        // Nothing is granted any more.
        (self.size, self.most) = (self.first, self.first);
        extra
    }

    /// What it takes beyond what every stream may.
    pub(super) fn extra(&self) -> u64 {
        self.size - self.first
    }

    /// What the reader has taken; `None` while it waits for more, or may not take any.
    pub(super) fn left_lying(&self) -> Option<u64> {
        (!self.waits && !self.excused).then_some(self.read)
    }

    /// The sender waits for credit, and the reader for the sender.
    fn held_back(&self) -> bool {
        // Once more than that has come, the sender was let on since.
        self.waits && self.blocked == Some(self.read)
    }

    /// Whether a larger window would let more through.
    fn is_too_small(&self, moment: Moment) -> bool {
        let Some(round_trip) = moment.round_trip else {
            return true;
        };
        let (since, read) = self.mark;
        let passed = self.read.saturating_sub(read).max(1);
        let took = moment.now.duration_since(since).as_secs_f64();
        let a_window = took * self.size as f64 / passed as f64;
        self.size < SURE || a_window < (round_trip * ROUND_TRIPS).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: u64 = 32;
    const MOST: u64 = 256;
    const TRIP: Duration = Duration::from_millis(10);

    fn all(_: u64) -> bool {
        true
    }

    fn nothing(_: u64) -> bool {
        false
    }

    fn new(first: u64, most: u64) -> Window {
        Window::new(first, most, 0, Instant::now())
    }

    fn at(now: Instant) -> Moment {
        let round_trip = Some(TRIP);
        Moment { now, round_trip }
    }

    fn anytime() -> Moment {
        at(Instant::now())
    }

    /// How large the window becomes where each takes `time` to pass.
    fn grown(time: Duration, round_trip: Option<Duration>) -> u64 {
        let mut window = new(SURE / 8, 16 * SURE);
        let mut now = Instant::now();
        for _ in 0..20 {
            now += time;
            let sent = window.limit;
            window.took(sent - window.read);
            window.blocked(sent);
            window.waits();
            window.grant(Moment { now, round_trip }, all);
        }
        window.size
    }

    #[test]
    fn half_of_the_window_is_granted_again_once_it_is_read() {
        let mut window = new(FIRST, MOST);
        window.took(15);
        assert_eq!(window.grant(anytime(), nothing), None);
        window.took(1);
        assert_eq!(window.grant(anytime(), nothing), Some(16));
        window.took(31);
        assert_eq!(window.grant(anytime(), nothing), Some(31));
    }

    #[test]
    fn doubles_when_the_reader_waits_for_a_sender_that_was_held_back() {
        let mut window = new(FIRST, MOST);
        let mut sizes = Vec::new();
        for _ in 0..5 {
            let sent = window.limit;
            window.took(sent - window.read);
            window.blocked(sent);
            window.grant(anytime(), all);
            window.waits();
            window.grant(anytime(), all);
            sizes.push(window.size);
        }
        assert_eq!(sizes, [64, 128, 256, 256, 256]);
        assert_eq!(window.extra(), MOST - FIRST);
    }

    #[test]
    fn a_window_that_takes_many_round_trips_to_pass_is_large_enough() {
        assert_eq!(grown(TRIP, Some(TRIP)), 16 * SURE);
        assert_eq!(grown(TRIP * 3, Some(TRIP)), 16 * SURE);
        assert_eq!(grown(TRIP * 5, Some(TRIP)), SURE);
        assert_eq!(grown(TRIP * 5, None), 16 * SURE);
    }

    #[test]
    fn a_reader_that_does_not_keep_up_makes_nothing_grow() {
        let mut window = new(FIRST, MOST);
        window.blocked(FIRST);
        window.took(FIRST / 2);
        window.grant(anytime(), all);
        assert_eq!(window.size, FIRST);
        // It waits, but not for the sender: bytes are still on their way.
        window.waits();
        window.grant(anytime(), all);
        assert_eq!(window.size, FIRST);
    }

    #[test]
    fn without_room_it_stays_small_and_goes_on() {
        let mut window = new(FIRST, MOST);
        for _ in 0..10 {
            let sent = window.limit;
            window.took(sent - window.read);
            window.blocked(sent);
            window.waits();
            assert_eq!(window.grant(anytime(), nothing), Some(FIRST));
        }
        assert_eq!(window.extra(), 0);
    }

    #[test]
    fn what_is_given_up_is_free_again() {
        let mut window = new(FIRST, MOST);
        window.took(FIRST);
        window.blocked(FIRST);
        window.waits();
        assert_eq!(window.grant(anytime(), all), Some(64));
        assert_eq!(window.returned(1000), 32);
        assert_eq!((window.extra(), window.limit), (0, FIRST));
        assert_eq!(window.grant(anytime(), nothing), Some(FIRST));
    }

    proptest::proptest! {
        /// Whatever the reader and an honest sender do: never more is unread than the window, and nobody is stuck.
        #[test]
        fn never_more_than_the_window_and_never_stuck(
            steps in proptest::collection::vec((0u8..5, 1u64..80, proptest::bool::ANY), 1..200),
        ) {
            let mut window = new(FIRST, MOST);
            let (mut left, mut sent, mut extra) = (FIRST, 0, 0u64);
            for (step, bytes, room) in steps {
                match step {
                    0 => { let now = bytes.min(left); left -= now; sent += now; }
                    1 => window.took(bytes.min(sent - window.read)),
                    2 => if window.read == sent { window.waits() },
                    3 => if left == 0 { window.blocked(sent) },
                    _ => {
                        let given = left.saturating_sub(FIRST);
                        left -= given;
                        extra -= window.returned(given);
                    }
                }
                let granted = window.grant(anytime(), |more| { if room { extra += more; } room });
                left += granted.unwrap_or(0);
                proptest::prop_assert_eq!(sent + left, window.limit);
                proptest::prop_assert_eq!(extra, window.extra());
                proptest::prop_assert!(window.size <= MOST && sent - window.read <= window.size);
                proptest::prop_assert!(left > 0 || sent > window.read);
            }
        }
    }
}
