//! Whether the neighbour table of an interface tells one host from another. In some container networks it does not:
//! whatever is asked for, one and the same MAC answers. That is decided by how the link behaves, not by its kind; a
//! network whose hosts have MACs of their own shows that with the first phone. Decides; asks nobody.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::Place;
use crate::device::Mac;
use crate::net::Prefix;

/// Addresses that are asked for though nobody should have them. One of them may be somebody's all the same.
const UNLIKELY_MAX: usize = 3;
/// Addresses of one MAC, and of no other, from which peers look alike when nothing may be asked.
const ALIKE_MIN: usize = 3;
/// Within which they must have been seen: a phone that gets a new address now and then is no bridge.
const ALIKE_WITHIN: Duration = Duration::from_mins(10);

/// What is known of each interface's link.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: HashMap<u32, Link>,
}

#[derive(Debug, Default)]
struct Link {
    /// Who answers for addresses that nobody has.
    proxy: Option<Mac>,
    seen: Seen,
    gateways: Vec<Ipv4Addr>,
}

/// Which MACs were seen behind addresses.
#[derive(Debug, Default)]
enum Seen {
    #[default]
    Nobody,
    /// One, at these addresses.
    One(Mac, Vec<(Place, Instant)>),
    /// Several: hosts have MACs of their own.
    Several,
}

impl Links {
    /// An interface has come or changed: what was known of its link is void.
    pub(super) fn renew(&mut self, interface: u32, gateways: Vec<Ipv4Addr>) {
        self.links.insert(interface, Link { gateways, ..Link::default() });
    }

    /// Forgets interfaces that are gone.
    pub(super) fn retain(&mut self, is_there: impl Fn(u32) -> bool) {
        self.links.retain(|interface, _| is_there(*interface));
    }

    /// Somebody answers for addresses that nobody has.
    pub(super) fn found_proxy(&mut self, interface: u32, proxy: Mac) {
        self.links.entry(interface).or_default().proxy = Some(proxy);
    }

    /// This MAC is behind this address.
    pub(super) fn learn(&mut self, place: Place, mac: Mac, now: Instant) {
        let seen = &mut self.links.entry(place.interface).or_default().seen;
        match seen {
            Seen::Nobody => *seen = Seen::One(mac, vec![(place, now)]),
            Seen::One(known, places) if *known == mac => {
                places.retain(|(known, _)| *known != place);
                if places.len() >= ALIKE_MIN {
                    places.remove(0);
                }
                places.push((place, now));
            }
            Seen::One(..) => *seen = Seen::Several,
            Seen::Several => {}
        }
    }

    /// The MAC behind which all peers of this interface look alike; `None` where they can be told apart.
    pub(super) fn all_behind(&self, interface: u32, now: Instant) -> Option<Mac> {
        let link = self.links.get(&interface)?;
        match (&link.seen, link.proxy) {
            (Seen::Nobody, proxy) => proxy,
            (Seen::One(mac, _), Some(proxy)) => (*mac == proxy).then_some(proxy),
            (Seen::One(mac, places), None) => {
                let lately = |at: &Instant| now.saturating_duration_since(*at) < ALIKE_WITHIN;
                let alike = places.iter().filter(|(_, at)| lately(at)).count() >= ALIKE_MIN;
                alike.then_some(*mac)
            }
            (Seen::Several, _) => None,
        }
    }

    /// Whether this address is a gateway of the interface: what comes from there may come from anybody behind it.
    pub(super) fn is_gateway(&self, interface: u32, address: Ipv4Addr) -> bool {
        self.links.get(&interface).is_some_and(|link| link.gateways.contains(&address))
    }
}

/// Addresses of the subnet that are unlikely to be anybody's: not its first and last ones, where routers and servers
/// stand, and spread by a number of this host's own.
pub(super) fn unlikely_addresses(subnet: Prefix, ours: Ipv4Addr, spread: u64) -> Vec<Ipv4Addr> {
    let size = subnet.size();
    // Of a link with few addresses each may be somebody's.
    if size < 16 {
        return Vec::new();
    }
    let first = u64::from(u32::from(subnet.first()));
    let quarter = size / 4;
    (1..=3_u64)
        .map(|part| first + part * quarter + spread % (quarter / 2).max(1))
        .filter_map(|address| u32::try_from(address).ok())
        .map(Ipv4Addr::from)
        .filter(|address| *address != ours)
        .take(UNLIKELY_MAX)
        .collect()
}

/// The default gateways by interface name, from the kernel's table of routes as text (`/proc/net/route`).
pub(super) fn gateways(routes: &str) -> Vec<(String, Ipv4Addr)> {
    let lines = routes.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter_map(|words| match words.as_slice() {
            [name, "00000000", gateway, ..] => {
                // In the byte order of the host.
                let gateway = Ipv4Addr::from(u32::from_str_radix(gateway, 16).ok()?.to_ne_bytes());
                (!gateway.is_unspecified()).then(|| ((*name).to_owned(), gateway))
            }
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};

    fn place(last: u8) -> Place {
        Place { address: [192, 0, 2, last].into(), interface: 2 }
    }

    fn mac(last: u8) -> Mac {
        Mac::new([0, 0x15, 0x65, 0, 0, last]).unwrap()
    }

    #[test]
    fn a_link_where_one_mac_answers_for_everybody_tells_nobody_apart() {
        let now = Clock::manual(Timestamp(0)).instant();
        let mut links = Links::default();
        links.renew(2, Vec::new());
        assert_eq!(links.all_behind(2, now), None);
        links.found_proxy(2, mac(1));
        assert_eq!(links.all_behind(2, now), Some(mac(1)));
        links.learn(place(9), mac(1), now);
        assert_eq!(links.all_behind(2, now), Some(mac(1)));
        // A single host with a MAC of its own shows that hosts have MACs of their own.
        links.learn(place(10), mac(10), now);
        assert_eq!(links.all_behind(2, now), None);
        assert_eq!(links.all_behind(3, now), None);
    }

    #[test]
    fn where_nothing_may_be_asked_peers_that_look_alike_say_it() {
        let start = Clock::manual(Timestamp(0)).instant();
        let at = |minutes| start + Duration::from_mins(minutes);
        let mut links = Links::default();
        links.learn(place(1), mac(1), at(0));
        links.learn(place(2), mac(1), at(8));
        links.learn(place(2), mac(1), at(8));
        assert_eq!(links.all_behind(2, at(8)), None);
        links.learn(place(3), mac(1), at(11));
        assert_eq!(links.all_behind(2, at(11)), None, "a phone that changes its address is no bridge");
        links.learn(place(4), mac(1), at(12));
        assert_eq!(links.all_behind(2, at(12)), Some(mac(1)));
        links.learn(place(5), mac(2), at(12));
        assert_eq!(links.all_behind(2, at(12)), None);
    }

    #[test]
    fn addresses_that_are_asked_for_lie_inside_the_subnet() {
        let ours = Ipv4Addr::new(192, 168, 1, 35);
        for (subnet, count) in
            [("192.168.1.0/24", 3), ("10.0.0.0/8", 3), ("192.168.1.32/30", 0), ("1.2.3.4/32", 0)]
        {
            let subnet: Prefix = subnet.parse().unwrap();
            for spread in [0, 1, 63, 12_345_678_901, u64::MAX] {
                let addresses = unlikely_addresses(subnet, ours, spread);
                assert_eq!(addresses.len(), count, "{subnet} {spread}: {addresses:?}");
                assert!(addresses.iter().all(|address| subnet.contains(*address) && *address != ours));
            }
        }
    }

    #[test]
    fn the_default_gateways_are_read() {
        let [a, b, c, d] = u32::from_ne_bytes([172, 17, 0, 1]).to_be_bytes();
        let gateway = format!("{a:02X}{b:02X}{c:02X}{d:02X}");
        let text = format!(
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n\
             eth0\t00000000\t{gateway}\t0003\t0\t0\t0\t00000000\n\
             eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\n\
             eth1\t00000000\t00000000\t0001\t0\t0\t0\t00000000\n"
        );
        assert_eq!(gateways(&text), [("eth0".to_owned(), Ipv4Addr::new(172, 17, 0, 1))]);
    }
}
