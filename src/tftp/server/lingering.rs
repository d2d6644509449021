//! Transfers of passwords that are over. Their request may still come again, repeated by the network or by a client
//! that has not noticed: it is no new one. A file without passwords is simply sent once more.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a request is taken for a repetition after its transfer.
const LINGERING: Duration = Duration::from_secs(10);
/// Transfers that are remembered: as many as may run. Beyond, the oldest are forgotten.
const LINGERING_MAX: usize = super::TRANSFERS_MAX;

/// The transfers of the last seconds, by the client's address and port.
#[derive(Debug, Default)]
pub(super) struct Lingering {
    over: HashMap<SocketAddr, (String, Instant)>,
    order: VecDeque<(SocketAddr, Instant)>,
}

impl Lingering {
    /// A transfer with this peer is over.
    pub(super) fn add(&mut self, peer: SocketAddr, filename: String, now: Instant) {
        while self
            .order
            .front()
            .is_some_and(|(_, ended)| *ended + LINGERING <= now || self.order.len() >= LINGERING_MAX)
        {
            self.forget_oldest();
        }
        self.over.insert(peer, (filename, now));
        self.order.push_back((peer, now));
    }

    /// Whether a request for this file repeats that of a transfer that has just ended.
    pub(super) fn holds(&self, peer: SocketAddr, filename: &str, now: Instant) -> bool {
        self.over.get(&peer).is_some_and(|(name, ended)| name == filename && now < *ended + LINGERING)
    }

    fn forget_oldest(&mut self) {
        let Some((peer, ended)) = self.order.pop_front() else { return };
        if self.over.get(&peer).is_some_and(|(_, latest)| *latest == ended) {
            self.over.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 168, 1, 77], port))
    }

    #[test]
    fn case_16_a_request_repeated_within_ten_seconds_is_no_new_one() {
        let begun = Clock::manual(Timestamp(0)).instant();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut lingering = Lingering::default();
        lingering.add(peer(1000), "a.cfg".to_owned(), at(0));
        assert!(lingering.holds(peer(1000), "a.cfg", at(9_999)));
        assert!(!lingering.holds(peer(1000), "a.cfg", at(10_000)), "later it is");
        assert!(!lingering.holds(peer(1000), "b.cfg", at(1)), "and for another file");
        assert!(!lingering.holds(peer(1001), "a.cfg", at(1)), "and from another port");
        lingering.add(peer(1000), "a.cfg".to_owned(), at(10_500));
        lingering.add(peer(1001), "a.cfg".to_owned(), at(20_000));
        assert!(lingering.holds(peer(1000), "a.cfg", at(20_000)), "the latest transfer counts");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let now = Clock::manual(Timestamp(0)).instant();
        let mut lingering = Lingering::default();
        for port in 0..=u16::MAX {
            lingering.add(peer(port), "a.cfg".to_owned(), now);
        }
        assert_eq!((lingering.over.len(), lingering.order.len()), (LINGERING_MAX, LINGERING_MAX));
        assert!(lingering.holds(peer(u16::MAX), "a.cfg", now) && !lingering.holds(peer(0), "a.cfg", now));
    }
}
