//! How often the link is asked. Decides; who waits is somebody else.

use std::time::{Duration, Instant};

/// One question for a release or a NOTIFY; a sweep has a budget of its own.
const EVERY: Duration = Duration::from_millis(1);
/// Questions at once: a site's phones come back together when the power does.
const BURST: u32 = 1_000;
/// The longest turn that is worth waiting for: 10,000 phones at once, and as many questions about their old addresses.
/// A phone that waited longer has asked again by then.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Turns, in the order of asking for one.
#[derive(Debug)]
pub(super) struct Budget {
    /// When the budget is whole again; a turn moves it on.
    whole_at: Instant,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self { whole_at: now }
    }

    /// How long to wait for the next turn; `None` when there are too many before it.
    pub(super) fn turn(&mut self, now: Instant) -> Option<Duration> {
        let whole_at = self.whole_at.max(now) + EVERY;
        let wait = (whole_at - now).saturating_sub(EVERY * BURST);
        (wait <= WAIT_MAX).then(|| {
            self.whole_at = whole_at;
            wait
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};

    #[test]
    fn a_thousand_at_once_then_a_thousand_a_second_and_what_would_wait_too_long_is_refused() {
        let start = Clock::manual(Timestamp(0)).instant();
        let mut budget = Budget::new(start);
        let waits: Vec<Duration> = std::iter::from_fn(|| budget.turn(start)).take(100_000).collect();
        assert_eq!(waits.iter().filter(|wait| wait.is_zero()).count(), 1_000);
        assert_eq!(waits.get(1_999), Some(&Duration::from_secs(1)));
        assert_eq!(waits.len(), 11_000);
        // A second later a thousand of them have had their turns.
        assert_eq!(budget.turn(start + Duration::from_secs(1)), Some(Duration::from_millis(9_001)));
        assert_eq!(budget.turn(start + Duration::from_mins(1)), Some(Duration::ZERO));
    }
}
