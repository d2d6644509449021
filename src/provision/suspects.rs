//! Addresses that ask for one phone after the other: who guesses MACs gets three answers, and then silence. Never waits,
//! never reads a clock.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::device::Mac;

/// Phones that an address may ask for in vain: a wrong path typed into a phone is one, and so is its successor.
const MACS_MAX: usize = 3;
/// How long they are remembered.
const MEMORY: Duration = Duration::from_mins(10);
/// Addresses that are remembered; beyond, the oldest are forgotten.
const ADDRESSES_MAX: usize = 16_384;

/// Who has asked in vain, for whom. What was served never counts: a whole site may be behind one address.
#[derive(Debug, Default)]
pub(super) struct Suspects(HashMap<IpAddr, Suspect>);

#[derive(Debug)]
struct Suspect {
    since: Instant,
    macs: [Option<Mac>; MACS_MAX],
    silenced: bool,
}

/// What becomes of one who asked in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    /// It is told that there is no such file.
    Answered,
    /// It is not answered any more; this is the first time.
    SilencedNow,
    /// It is not answered any more.
    Silenced,
}

impl Suspects {
    /// Takes note that `peer` asked in vain for a file of `mac`.
    pub(super) fn asked_in_vain(&mut self, peer: IpAddr, mac: Mac, now: Instant) -> Treatment {
        self.make_room(peer, now);
        let fresh = || Suspect { since: now, macs: [None; MACS_MAX], silenced: false };
        let suspect = self.0.entry(peer).or_insert_with(fresh);
        if now.saturating_duration_since(suspect.since) >= MEMORY {
            *suspect = fresh();
        }
        if suspect.silenced {
            return Treatment::Silenced;
        }
        if suspect.macs.contains(&Some(mac)) {
            return Treatment::Answered;
        }
        if let Some(free) = suspect.macs.iter_mut().find(|place| place.is_none()) {
            *free = Some(mac);
            return Treatment::Answered;
        }
        suspect.silenced = true;
        Treatment::SilencedNow
    }

    fn make_room(&mut self, peer: IpAddr, now: Instant) {
        if self.0.len() < ADDRESSES_MAX || self.0.contains_key(&peer) {
            return;
        }
        self.0.retain(|_, suspect| now.saturating_duration_since(suspect.since) < MEMORY);
        if self.0.len() >= ADDRESSES_MAX {
            let oldest = self.0.iter().min_by_key(|(_, suspect)| suspect.since).map(|(peer, _)| *peer);
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};

    #[test]
    fn case_54_who_guesses_gets_three_answers_and_then_silence() {
        let clock = Clock::manual(Timestamp(0));
        let mut suspects = Suspects::default();
        let peer = IpAddr::from([192, 0, 2, 7]);
        let mac = |last: u32| {
            let [_, a, b, c] = last.to_be_bytes();
            Mac::new([0, 0x15, 0x65, a, b, c]).unwrap()
        };
        let mut count = [0; 3];
        for number in 0..10_000 {
            match suspects.asked_in_vain(peer, mac(number), clock.instant()) {
                Treatment::Answered => count[0] += 1,
                Treatment::SilencedNow => count[1] += 1,
                Treatment::Silenced => count[2] += 1,
            }
        }
        assert_eq!(count, [3, 1, 9_996]);
        let other = IpAddr::from([192, 0, 2, 8]);
        assert_eq!(suspects.asked_in_vain(other, mac(1), clock.instant()), Treatment::Answered);
        clock.advance(MEMORY);
        assert_eq!(suspects.asked_in_vain(peer, mac(7), clock.instant()), Treatment::Answered);
    }

    #[test]
    fn one_phone_that_asks_for_ever_is_answered_for_ever() {
        let clock = Clock::manual(Timestamp(0));
        let mut suspects = Suspects::default();
        let mac = "001565010203".parse().unwrap();
        for _ in 0..1_000 {
            let treatment = suspects.asked_in_vain(IpAddr::from([192, 0, 2, 7]), mac, clock.instant());
            assert_eq!(treatment, Treatment::Answered);
        }
    }
}
