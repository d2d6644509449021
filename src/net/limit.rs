//! Token buckets per key, in a map that cannot grow without bound; and how often losses are told. Time is an argument.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How often something may happen, per key.
#[derive(Debug)]
pub struct Limiter<K> {
    burst: u32,
    every: Duration,
    keys_max: usize,
    buckets: HashMap<K, Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: u32,
    since: Instant,
}

impl<K: Hash + Eq> Limiter<K> {
    /// Allows `burst` at once and one more after each `every`, for at most `keys_max` keys at a time.
    pub fn new(burst: u32, every: Duration, keys_max: usize) -> Self {
        Self {
            burst: burst.max(1),
            every: every.max(Duration::from_nanos(1)),
            keys_max,
            buckets: HashMap::new(),
        }
    }

    /// Whether `key` may now; if so, it has used one. When the map is full of keys that are all still busy, a new key
    /// is refused: forgetting a busy key would let a flood of keys lift every limit.
    pub fn allows(&mut self, key: K, now: Instant) -> bool {
        if self.buckets.len() >= self.keys_max && !self.buckets.contains_key(&key) {
            self.forget_idle(now);
            if self.buckets.len() >= self.keys_max {
                return false;
            }
        }
        let (burst, every) = (self.burst, self.every);
        let bucket = self.buckets.entry(key).or_insert(Bucket { tokens: burst, since: now });
        bucket.refill(burst, every, now);
        if bucket.tokens == 0 {
            return false;
        }
        bucket.tokens -= 1;
        true
    }

    fn forget_idle(&mut self, now: Instant) {
        let (burst, every) = (self.burst, self.every);
        self.buckets.retain(|_, bucket| {
            bucket.refill(burst, every, now);
            bucket.tokens < burst
        });
    }
}

impl Bucket {
    fn refill(&mut self, burst: u32, every: Duration, now: Instant) {
        let earned = now.saturating_duration_since(self.since).as_nanos() / every.as_nanos();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        self.tokens = self.tokens.saturating_add(earned).min(burst);
        // A full bucket earns nothing while it waits.
        self.since = if self.tokens == burst { now } else { self.since + every * earned };
    }
}

/// One line about losses in this time.
const LOSSES_TOLD_EVERY: Duration = Duration::from_secs(10);

/// What was lost, until it is told: the first at once, then now and then how many.
#[derive(Debug, Default)]
pub struct Losses {
    untold: u64,
    told: Option<Instant>,
}

impl Losses {
    /// One more is lost. How many are to be told now, if any.
    pub fn count(&mut self, now: Instant) -> Option<u64> {
        self.untold += 1;
        if self.told.is_some_and(|at| now.saturating_duration_since(at) < LOSSES_TOLD_EVERY) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};

    #[test]
    fn losses_are_told_at_once_and_then_every_ten_seconds_with_their_number() {
        let start = Clock::manual(Timestamp(0)).instant();
        let mut losses = Losses::default();
        let told = (0..25_000).filter_map(|ms| Some((ms, losses.count(start + Duration::from_millis(ms))?)));
        assert_eq!(told.collect::<Vec<_>>(), [(0, 1), (10_000, 10_000), (20_000, 10_000)]);
    }

    #[test]
    fn a_key_earns_its_tokens_back() {
        let start = Clock::manual(Timestamp(0)).instant();
        let at = |ms| start + Duration::from_millis(ms);
        let mut limiter = Limiter::new(2, Duration::from_secs(1), 10);
        let answers = [0, 0, 1, 999, 1000, 1001, 1999, 2000].map(|ms| limiter.allows("mac", at(ms)));
        assert_eq!(answers, [true, true, false, false, true, false, false, true]);
        assert!(limiter.allows("other", at(1)));
    }

    #[test]
    fn a_flood_of_keys_neither_grows_the_map_nor_lifts_a_limit() {
        let start = Clock::manual(Timestamp(0)).instant();
        let mut limiter = Limiter::new(1, Duration::from_secs(2), 100);
        assert!(limiter.allows(0, start));
        let served = (1..10_000).filter(|key| limiter.allows(*key, start)).count();
        assert_eq!((served, limiter.buckets.len()), (99, 100));
        assert!(!limiter.allows(0, start + Duration::from_secs(1)));
        assert!(limiter.allows(20_000, start + Duration::from_secs(2)), "idle keys make room");
    }
}
