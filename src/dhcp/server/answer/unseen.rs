//! Whether anybody sees our answers: a switch that guards DHCP drops what a server says on a port that it does not
//! trust, and the clients go on asking as if nobody were there. Never sends.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::device::Mac;
use crate::dhcp::message::{Kind, Message};

/// A client that asks again within this of our answer may have asked before it came.
const UNDERWAY: Duration = Duration::from_secs(1);
/// Answers that nobody seems to have seen, one after the other, before it is said.
const UNSEEN_MAX: u32 = 3;
/// Clients at a time.
const CLIENTS_MAX: usize = 4_096;

/// What became of our answers on one interface.
#[derive(Debug, Default)]
pub(super) struct Unseen {
    answered: HashMap<Mac, (u32, Instant)>,
    in_a_row: u32,
    said: bool,
}

impl Unseen {
    /// We answered this exchange.
    pub(super) fn answered(&mut self, mac: Mac, xid: u32, now: Instant) {
        if self.answered.len() >= CLIENTS_MAX {
            self.answered.clear();
        }
        self.answered.insert(mac, (xid, now));
    }

    /// A client asks. Whether it is time to say that our answers seem to get lost.
    pub(super) fn asked(&mut self, message: &Message, now: Instant) -> bool {
        let Some((xid, at)) = self.answered.get(&message.mac).copied() else { return false };
        let is_again = xid == message.xid && now.saturating_duration_since(at) >= UNDERWAY;
        match message.kind {
            Kind::Discover | Kind::Inform if is_again => {
                self.answered.remove(&message.mac);
                self.in_a_row += 1;
            }
            // Who takes an offer, or another one, has seen something.
            Kind::Request => {
                self.answered.remove(&message.mac);
                self.in_a_row = 0;
                self.said = false;
            }
            _ => {}
        }
        let is_time = self.in_a_row >= UNSEEN_MAX && !self.said;
        self.said |= is_time;
        is_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};
    use crate::dhcp::message::Draft;

    fn message(kind: Kind, last: u8, xid: u32) -> Message {
        let mac = Mac::new([0x80, 0x5e, 0, 0, 0, last]).unwrap();
        Message::read(&Draft::question(kind, mac, xid).write(548).bytes).unwrap()
    }

    #[test]
    fn clients_that_ask_again_after_our_answers_are_noticed_once() {
        let clock = Clock::manual(Timestamp(0));
        let mut unseen = Unseen::default();
        let ask_again = |unseen: &mut Unseen, last| {
            let asked = message(Kind::Discover, last, 7);
            unseen.answered(asked.mac, 7, clock.instant());
            assert!(!unseen.asked(&asked, clock.instant()), "it was under way");
            clock.advance(Duration::from_secs(4));
            unseen.asked(&asked, clock.instant())
        };
        assert_eq!([1, 1, 2].map(|last| ask_again(&mut unseen, last)), [false, false, true]);
        assert!(!ask_again(&mut unseen, 3), "it was said");
        let taken = message(Kind::Request, 3, 7);
        unseen.answered(taken.mac, 7, clock.instant());
        assert!(!unseen.asked(&taken, clock.instant()));
        assert_eq!([1, 2].map(|last| ask_again(&mut unseen, last)), [false, false], "one has seen us");
        let other = message(Kind::Discover, 9, 8);
        unseen.answered(other.mac, 7, clock.instant());
        clock.advance(Duration::from_secs(4));
        assert!(!unseen.asked(&other, clock.instant()), "a new exchange");
    }
}
