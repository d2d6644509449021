//! Refused requests on their way to the audit. The same one within a minute is counted, and of different ones only so
//! many become rows that whoever knocks at random cannot fill the disk: the rest is one row with their number. Those of
//! somebody who holds a token have rows of their own, so that a flood of others does not hide them. Time is an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::device::Mac;
use crate::net::limit::Limiter;
use crate::store::ApiRefusal;

/// So long the same refusal is counted before it is another row.
const COUNTED_FOR: Duration = Duration::from_mins(1);
/// Different refusals that are counted at a time.
const KINDS_MAX: usize = 1_024;
/// Rows at once, and then one in so long a time: a year of it is some ten megabytes of audit.
const ROWS_BURST: u32 = 60;
const ROW_EVERY: Duration = Duration::from_mins(5);
/// How often all that have no row of their own are one.
const OTHERS_EVERY: Duration = Duration::from_mins(10);

/// What is the same refusal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Refusal {
    /// The token's number, where it has one.
    pub(super) token: Option<String>,
    pub(super) peer: IpAddr,
    pub(super) asked: String,
    pub(super) mac: Option<Mac>,
    pub(super) why: &'static str,
}

/// Refusals that are not written down yet.
#[derive(Debug)]
pub(super) struct Refusals {
    counted: HashMap<Refusal, Counted>,
    /// By whether the one who was refused holds a token.
    rows: Limiter<bool>,
    others: u64,
    others_since: Option<Instant>,
}

#[derive(Debug)]
struct Counted {
    since: Instant,
    count: u64,
    /// Whether there is a row of the first.
    told: bool,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            counted: HashMap::new(),
            rows: Limiter::new(ROWS_BURST, ROW_EVERY, 2),
            others: 0,
            others_since: None,
        }
    }
}

impl Refusals {
    pub(super) fn note(&mut self, refusal: Refusal, now: Instant) {
        if self.counted.len() >= KINDS_MAX && !self.counted.contains_key(&refusal) {
            self.add_other(1, now);
            return;
        }
        let counted = self.counted.entry(refusal).or_insert(Counted { since: now, count: 0, told: false });
        counted.count = counted.count.saturating_add(1);
    }

    /// What is to be written down now: each new one at once, repetitions when their minute is over. With `all`, what is
    /// left.
    pub(super) fn due(&mut self, now: Instant, all: bool) -> Vec<ApiRefusal> {
        let mut rows = Vec::new();
        let mut others = 0;
        for (refusal, counted) in &mut self.counted {
            let over = now.duration_since(counted.since) >= COUNTED_FOR;
            if counted.count == 0 || (counted.told && !over && !all) {
                continue;
            }
            let count = std::mem::take(&mut counted.count);
            (counted.since, counted.told) = (now, true);
            if self.rows.allows(refusal.token.is_some(), now) {
                rows.push(row(refusal, count));
            } else {
                others += count;
            }
        }
        self.counted.retain(|_, counted| now.duration_since(counted.since) < COUNTED_FOR);
        if others > 0 {
            self.add_other(others, now);
        }
        let is_due = self.others_since.is_some_and(|since| all || now.duration_since(since) >= OTHERS_EVERY);
        if is_due {
            self.others_since = None;
            let count = std::mem::take(&mut self.others);
            let (token, peer, asked, mac) = (None, None, None, None);
            rows.push(ApiRefusal { token, peer, asked, mac, why: "too many to tell apart", count });
        }
        rows
    }

    /// Rows that could not be written wait for the next time.
    pub(super) fn put_back(&mut self, rows: Vec<ApiRefusal>, now: Instant) {
        for ApiRefusal { token, peer, asked, mac, why, count } in rows {
            let (Some(peer), Some(asked)) = (peer, asked) else {
                self.add_other(count, now);
                continue;
            };
            let refusal = Refusal { token, peer, asked, mac, why };
            let counted =
                self.counted.entry(refusal).or_insert(Counted { since: now, count: 0, told: false });
            (counted.count, counted.told) = (counted.count.saturating_add(count), false);
        }
    }

    fn add_other(&mut self, count: u64, now: Instant) {
        self.others = self.others.saturating_add(count);
        self.others_since.get_or_insert(now);
    }
}

fn row(refusal: &Refusal, count: u64) -> ApiRefusal {
    let Refusal { token, peer, asked, mac, why } = refusal.clone();
    ApiRefusal { token, peer: Some(peer), asked: Some(asked), mac, why, count }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};

    fn refusal(token: Option<&str>, last: u32) -> Refusal {
        let peer = IpAddr::from(last.to_be_bytes());
        Refusal {
            token: token.map(str::to_owned),
            peer,
            asked: "GET /x".to_owned(),
            mac: None,
            why: "no token",
        }
    }

    fn counts(rows: &[ApiRefusal]) -> Vec<u64> {
        rows.iter().map(|row| row.count).collect()
    }

    #[test]
    fn the_first_is_told_at_once_and_the_rest_of_its_minute_as_a_number() {
        let clock = Clock::manual(Timestamp(0));
        let mut refusals = Refusals::default();
        refusals.note(refusal(None, 1), clock.instant());
        assert_eq!(counts(&refusals.due(clock.instant(), false)), [1]);
        for _ in 0..500 {
            refusals.note(refusal(None, 1), clock.instant());
        }
        clock.advance(Duration::from_secs(59));
        assert!(refusals.due(clock.instant(), false).is_empty());
        clock.advance(Duration::from_secs(1));
        assert_eq!(counts(&refusals.due(clock.instant(), false)), [500]);
        clock.advance(COUNTED_FOR);
        assert!(refusals.due(clock.instant(), false).is_empty() && refusals.counted.is_empty());
        refusals.note(refusal(None, 1), clock.instant());
        assert_eq!(counts(&refusals.due(clock.instant(), true)), [1], "a stop leaves nothing out");
    }

    #[test]
    fn a_year_of_a_flood_is_a_row_a_minute_and_hides_nobody_who_holds_a_token() {
        let clock = Clock::manual(Timestamp(0));
        let mut refusals = Refusals::default();
        let (mut rows, mut told) = (0, 0);
        for minute in 0..60 {
            for peer in 0..5_000 {
                refusals.note(refusal(None, minute * 5_000 + peer), clock.instant());
            }
            refusals.note(refusal(Some("pbx"), 7), clock.instant());
            let due = refusals.due(clock.instant(), false);
            rows += due.len();
            told += due.iter().map(|row| row.count).sum::<u64>();
            clock.advance(Duration::from_mins(1));
        }
        told += refusals.due(clock.instant(), true).iter().map(|row| row.count).sum::<u64>();
        assert_eq!(told, 60 * 5_001, "each is counted somewhere");
        assert!(rows < 60 + 12 + 60 + 6, "{rows}");
    }

    #[test]
    fn what_could_not_be_written_is_told_the_next_time() {
        let clock = Clock::manual(Timestamp(0));
        let mut refusals = Refusals::default();
        refusals.note(refusal(None, 1), clock.instant());
        let rows = refusals.due(clock.instant(), false);
        refusals.put_back(rows.clone(), clock.instant());
        refusals.note(refusal(None, 1), clock.instant());
        let again = refusals.due(clock.instant(), false);
        assert_eq!((counts(&again), &again[0].asked), (vec![2], &rows[0].asked));
    }
}
