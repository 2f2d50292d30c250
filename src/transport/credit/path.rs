//! How long the path between the two ends is, as far as their own queues do not make it longer.

use std::time::Duration;

use tokio::time::Instant;

/// The shortest round trip of late. Of a busy connection the current one says how much is queued, not how far the peer is.
#[derive(Debug)]
pub(super) struct Path {
    /// Of the current period, and of the one before.
    lowest: Option<Duration>,
    before: Option<Duration>,
    since: Instant,
}

/// A path that has become longer is believed after so long, or twice that.
const PERIOD: Duration = Duration::from_secs(300);

impl Path {
    pub(super) fn new() -> Self {
        Self {
            lowest: None,
            before: None,
            since: Instant::now(),
        }
    }

    /// A round trip takes so long now; zero: that is not known.
    pub(super) fn measured(&mut self, rtt: Duration) {
        if self.since.elapsed() >= PERIOD {
            self.before = self.lowest.take();
            self.since = Instant::now();
        }
        if !rtt.is_zero() {
            self.lowest = Some(self.lowest.map_or(rtt, |lowest| lowest.min(rtt)));
        }
    }

    /// `None` until it is known.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.lowest.into_iter().chain(self.before).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(2);
    const LONG: Duration = Duration::from_millis(90);

    #[tokio::test(start_paused = true)]
    async fn queues_do_not_make_the_path_longer_and_moving_does() {
        let mut path = Path::new();
        path.measured(Duration::ZERO);
        assert_eq!(path.round_trip(), None);
        path.measured(LONG);
        path.measured(SHORT);
        path.measured(LONG);
        assert_eq!(path.round_trip(), Some(SHORT));
        tokio::time::advance(PERIOD).await;
        path.measured(LONG);
        assert_eq!(path.round_trip(), Some(SHORT));
        tokio::time::advance(PERIOD).await;
        path.measured(LONG);
        assert_eq!(path.round_trip(), Some(LONG));
    }
}
