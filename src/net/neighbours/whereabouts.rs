//! Where each MAC was lately: a MAC at a second address is a phone that has moved, or somebody who pretends to be it.
//! Remembers and says; who asks the old address whether it still answers is somebody else.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Place;
use crate::device::Mac;

/// How long an address is remembered.
const REMEMBERED: Duration = Duration::from_hours(1);
/// MACs of one generation; two are kept, so twice a fleet of 10,000 fits.
const MACS_MAX: usize = 16_384;
/// Addresses of one MAC; a phone that moves more often within an hour is remembered at its latest.
const PLACES_MAX: usize = 4;

/// Who was seen where within the last hour, by IPv4: a phone has an IPv4 and IPv6 addresses at the same time.
#[derive(Debug)]
pub(super) struct Whereabouts {
    young: HashMap<Mac, Vec<(Place, Instant)>>,
    /// Those of the hour before, or of before the young were too many.
    old: HashMap<Mac, Vec<(Place, Instant)>>,
    since: Instant,
}

impl Whereabouts {
    pub(super) fn new(now: Instant) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), since: now }
    }

    /// This MAC is at this place.
    pub(super) fn learn(&mut self, place: Place, mac: Mac, now: Instant) {
        if place.address.is_ipv6() {
            return;
        }
        if now.saturating_duration_since(self.since) >= REMEMBERED || self.young.len() >= MACS_MAX {
            self.old = std::mem::take(&mut self.young);
            self.since = now;
        }
        let old = &self.old;
        let places = self.young.entry(mac).or_insert_with(|| old.get(&mac).cloned().unwrap_or_default());
        places.retain(|(known, at)| *known != place && is_fresh(*at, now));
        if places.len() >= PLACES_MAX {
            places.remove(0);
        }
        places.push((place, now));
    }

    /// Where else this MAC was within the hour, the latest place first.
    pub(super) fn elsewhere(&self, place: Place, mac: Mac, now: Instant) -> Vec<Place> {
        let known = self.young.get(&mac).or_else(|| self.old.get(&mac)).filter(|_| place.address.is_ipv4());
        let fresh = known.into_iter().flatten().rev().filter(|(_, at)| is_fresh(*at, now));
        // By another interface, the same address is the same host: both may be on one LAN.
        fresh.map(|(known, _)| *known).filter(|known| known.address != place.address).collect()
    }

    /// This MAC is no longer at this place.
    pub(super) fn forget(&mut self, place: Place, mac: Mac) {
        for generation in [&mut self.young, &mut self.old] {
            if let Some(places) = generation.get_mut(&mac) {
                places.retain(|(known, _)| *known != place);
            }
        }
    }
}

fn is_fresh(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < REMEMBERED
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};

    fn place(last: u8) -> Place {
        Place { address: [192, 0, 2, last].into(), interface: 2 }
    }

    fn mac(last: u32) -> Mac {
        let [_, a, b, c] = last.to_be_bytes();
        Mac::new([0, 0x15, 0x65, a, b, c]).unwrap()
    }

    #[test]
    fn a_mac_is_remembered_for_an_hour_at_each_of_its_addresses() {
        let start = Clock::manual(Timestamp(0)).instant();
        let at = |minutes| start + Duration::from_mins(minutes);
        let mut whereabouts = Whereabouts::new(start);
        whereabouts.learn(place(1), mac(7), at(0));
        whereabouts.learn(place(2), mac(7), at(30));
        let elsewhere =
            |whereabouts: &Whereabouts, minutes| whereabouts.elsewhere(place(3), mac(7), at(minutes));
        assert_eq!(elsewhere(&whereabouts, 31), [place(2), place(1)]);
        assert_eq!(whereabouts.elsewhere(place(2), mac(7), at(31)), [place(1)]);
        assert_eq!(elsewhere(&whereabouts, 61), [place(2)]);
        // What others do after an hour takes nothing away.
        whereabouts.learn(place(9), mac(9), at(62));
        assert_eq!(elsewhere(&whereabouts, 62), [place(2)]);
        assert_eq!(elsewhere(&whereabouts, 90), []);
        whereabouts.learn(place(4), mac(7), at(91));
        whereabouts.forget(place(4), mac(7));
        assert_eq!(elsewhere(&whereabouts, 91), []);
    }

    #[test]
    fn a_phone_seen_by_two_interfaces_on_one_lan_has_not_moved() {
        let start = Clock::manual(Timestamp(0)).instant();
        let mut whereabouts = Whereabouts::new(start);
        let by_the_other = Place { interface: 3, ..place(1) };
        whereabouts.learn(by_the_other, mac(7), start);
        whereabouts.learn(place(1), mac(7), start);
        assert_eq!(whereabouts.elsewhere(place(1), mac(7), start), []);
        assert_eq!(whereabouts.elsewhere(place(2), mac(7), start), [place(1), by_the_other]);
    }

    #[test]
    fn ipv6_addresses_say_nothing_about_a_move() {
        let start = Clock::manual(Timestamp(0)).instant();
        let mut whereabouts = Whereabouts::new(start);
        let place = Place { address: "fe80::1".parse().unwrap(), interface: 2 };
        whereabouts.learn(place, mac(1), start);
        assert_eq!(whereabouts.elsewhere(self::place(1), mac(1), start), []);
        whereabouts.learn(self::place(1), mac(1), start);
        assert_eq!(whereabouts.elsewhere(place, mac(1), start), []);
    }

    #[test]
    fn memory_is_bounded() {
        let start = Clock::manual(Timestamp(0)).instant();
        let mut whereabouts = Whereabouts::new(start);
        for last in 0..100_000 {
            whereabouts.learn(place(1), mac(last + 1), start);
        }
        for last in 0..100 {
            whereabouts.learn(place(last), mac(100_000), start);
        }
        assert!(whereabouts.young.len() <= MACS_MAX && whereabouts.old.len() <= MACS_MAX);
        assert_eq!(whereabouts.elsewhere(place(200), mac(100_000), start).len(), PLACES_MAX);
    }
}
