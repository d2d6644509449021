//! Which leases were just heard to be given, so that the report of a hook does not tell the same once more.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::device::Mac;

/// A report comes within this of the answer that it is about; in a storm, many lie before it.
const WITHIN: Duration = Duration::from_secs(30);
/// A fleet of 10,000 that boots at once. Beyond, a lease is told twice.
const LEASES_MAX: usize = 16_384;

/// The memory of leases.
#[derive(Debug, Default)]
pub(super) struct Recent(HashMap<Mac, (Ipv4Addr, Instant)>);

impl Recent {
    /// A client was heard to be given this address.
    pub(super) fn given(&mut self, mac: Mac, address: Ipv4Addr, now: Instant) {
        if self.0.len() >= LEASES_MAX {
            self.0.retain(|_, (_, at)| now.saturating_duration_since(*at) < WITHIN);
        }
        if self.0.len() < LEASES_MAX {
            self.0.insert(mac, (address, now));
        }
    }

    /// Whether that was just heard.
    pub(super) fn was_given(&self, mac: Mac, address: Ipv4Addr, now: Instant) -> bool {
        let given = self.0.get(&mac).filter(|(given, _)| *given == address);
        given.is_some_and(|(_, at)| now.saturating_duration_since(*at) < WITHIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};

    #[test]
    fn a_lease_is_the_same_for_half_a_minute() {
        let start = Clock::manual(Timestamp(0)).instant();
        let mac = |last| Mac::new([0x80, 0x5e, 0xc0, 0, 0, last]).unwrap();
        let [first, second] = [7, 8].map(|last| Ipv4Addr::new(10, 9, 0, last));
        let mut recent = Recent::default();
        recent.given(mac(1), first, start);
        let was_given = |mac, address, s| recent.was_given(mac, address, start + Duration::from_secs(s));
        assert!(was_given(mac(1), first, 29) && !was_given(mac(1), first, 30));
        assert!(!was_given(mac(1), second, 0) && !was_given(mac(2), first, 0));
    }

    #[test]
    fn a_flood_does_not_grow_the_memory() {
        let start = Clock::manual(Timestamp(0)).instant();
        let mut recent = Recent::default();
        for number in 0..20_000_u32 {
            let [_, _, c, d] = number.to_be_bytes();
            recent.given(Mac::new([2, 0, 0, 0, c, d]).unwrap(), number.into(), start);
        }
        assert_eq!(recent.0.len(), LEASES_MAX);
    }
}
