//! How long a connection may take over each step, so that no phone, broken or hostile, holds one for ever. Never sends,
//! never waits, never reads the clock.

use std::time::{Duration, Instant};

use crate::provision::SENDING_MAX;

/// From the first octet of a request (or from the connection) to the end of its head.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// From there to the answer, with whatever body the phone sends and the time the file takes to be made.
const REQUEST_MAX: Duration = Duration::from_secs(30);
/// Between two requests.
const IDLE_MAX: Duration = Duration::from_secs(15);
/// A response goes on for as long as its reader takes so many octets in such a time: 1 KiB/s.
const PROGRESS_BYTES: usize = 20 * 1024;
const PROGRESS_EVERY: Duration = Duration::from_secs(20);

/// Where a connection stands.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    phase: Phase,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Between two requests.
    Idle { since: Instant },
    /// A request's head is arriving.
    Head { since: Instant },
    /// The request is known, its answer not yet.
    Answer { since: Instant },
    /// The answer is on its way.
    Response { since: Instant, kind: Kind, mark: Instant, moved: usize },
}

/// What a response carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file that is the same for everybody, and may be large.
    Static,
    /// A file of one phone, or a refusal.
    Own,
}

impl Pace {
    /// Of a connection that was just accepted.
    pub fn new(now: Instant) -> Self {
        Self { phase: Phase::Head { since: now } }
    }

    /// Octets of a request have arrived.
    pub fn received(&mut self, now: Instant) {
        if let Phase::Idle { .. } = self.phase {
            self.phase = Phase::Head { since: now };
        }
    }

    /// A request's head is complete.
    pub fn asked(&mut self, now: Instant) {
        self.phase = match self.phase {
            Phase::Head { since } => Phase::Answer { since },
            _ => Phase::Answer { since: now },
        };
    }

    /// The answer is there and begins to leave.
    pub fn answered(&mut self, kind: Kind, now: Instant) {
        self.phase = Phase::Response { since: now, kind, mark: now, moved: 0 };
    }

    /// The kernel took so many octets.
    pub fn wrote(&mut self, octets: usize, now: Instant) {
        if let Phase::Response { mark, moved, .. } = &mut self.phase {
            *moved = moved.saturating_add(octets);
            if *moved >= PROGRESS_BYTES {
                (*mark, *moved) = (now, 0);
            }
        }
    }

    /// The whole response is out.
    pub fn finished(&mut self, now: Instant) {
        if let Phase::Response { .. } = self.phase {
            self.phase = Phase::Idle { since: now };
        }
    }

    /// When the connection is closed, unless something happens.
    pub fn deadline(&self) -> Instant {
        match self.phase {
            Phase::Idle { since } => since + IDLE_MAX,
            Phase::Head { since } => since + HEAD_MAX,
            Phase::Answer { since } => since + REQUEST_MAX,
            Phase::Response { since, kind: Kind::Own, mark, .. } => {
                (mark + PROGRESS_EVERY).min(since + SENDING_MAX)
            }
            Phase::Response { kind: Kind::Static, mark, .. } => mark + PROGRESS_EVERY,
        }
    }

    /// Whether a response is still under way: closing now means to abort it.
    pub fn is_responding(&self) -> bool {
        matches!(self.phase, Phase::Response { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};

    struct Day(Instant);

    impl Day {
        fn at(&self, seconds: u64) -> Instant {
            self.0 + Duration::from_secs(seconds)
        }

        fn check(&self, what: &str, pace: &Pace, closes: u64) {
            assert_eq!((pace.deadline() - self.0).as_secs(), closes, "{what}");
        }
    }

    fn day() -> Day {
        Day(Clock::manual(Timestamp(0)).instant())
    }

    #[test]
    fn dribbled_heads_and_idle_connections_are_closed() {
        let day = day();
        let mut pace = Pace::new(day.at(0));
        pace.received(day.at(3));
        pace.received(day.at(9));
        day.check("a head takes ten seconds, however lively", &pace, 10);
        pace.asked(day.at(9));
        day.check("an answer takes thirty from the first octet", &pace, 30);
        pace.answered(Kind::Own, day.at(12));
        pace.wrote(9000, day.at(12));
        pace.finished(day.at(12));
        day.check("idle", &pace, 27);
        pace.received(day.at(20));
        day.check("the next head", &pace, 30);
    }

    #[test]
    fn a_slow_reader_is_served_and_a_stalled_one_is_not() {
        let day = day();
        let mut pace = Pace::new(day.at(0));
        pace.asked(day.at(0));
        pace.answered(Kind::Static, day.at(0));
        pace.wrote(200_000, day.at(0));
        day.check("a reader that reads nothing", &pace, 20);
        for second in (16..3200).step_by(16) {
            assert!(day.at(second) < pace.deadline(), "one KiB a second is enough at {second} s");
            pace.wrote(16 * 1024, day.at(second));
            pace.wrote(4 * 1024, day.at(second));
        }
        assert!(pace.is_responding());
    }

    #[test]
    fn a_phones_own_file_is_out_in_two_minutes() {
        let day = day();
        let mut pace = Pace::new(day.at(0));
        pace.asked(day.at(1));
        pace.answered(Kind::Own, day.at(1));
        for second in 1..119 {
            pace.wrote(PROGRESS_BYTES, day.at(second));
        }
        day.check("a lively reader of a huge file", &pace, 121);
    }
}
