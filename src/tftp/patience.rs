//! When a block is sent again, and when a client is given up: a round-trip estimate (RFC 6298) with Karn's rule for the
//! first tries, whole seconds for the last ones. Time is an argument.

use std::time::Duration;

/// Until a round trip was measured. A phone on a LAN answers in milliseconds; one that does not has lost the packet.
const RTO_INITIAL: Duration = Duration::from_millis(250);
/// No sooner than this, however fast the link: a phone may be busy for a moment.
const RTO_MIN: Duration = Duration::from_millis(30);
/// Estimates beyond this say that the phone is busy with something else than the network.
const RTO_MAX: Duration = Duration::from_secs(2);

/// Datagrams that a peer may cost us before it has acknowledged anything: its address may be forged.
pub const OPENING_DATAGRAMS_MAX: u8 = 3;
/// Pauses after the second and the third of them; after the third the request is forgotten.
const OPENING_PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// Retransmissions of a block after the first acknowledgement.
pub const RETRANSMISSIONS_MAX: u8 = 5;
/// Pauses after the third, fourth and last retransmission. A phone that writes to its flash can be silent for
/// seconds; one that negotiated a longer timer gets that instead.
const LATE_PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(10)];
/// A negotiated timer is honoured up to this: an idle transfer holds a socket.
const TIMEOUT_MAX: Duration = Duration::from_mins(1);

/// The estimate of one transfer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Patience {
    smoothed: Option<Duration>,
    variation: Duration,
    doublings: u32,
    timeout: Option<Duration>,
}

impl Patience {
    /// For a client with this negotiated timer.
    pub fn new(timeout: Option<Duration>) -> Self {
        Self { timeout: timeout.map(|timeout| timeout.min(TIMEOUT_MAX)), ..Self::default() }
    }

    /// A block that was sent once has been acknowledged after this long.
    pub fn measured(&mut self, round_trip: Duration) {
        match self.smoothed {
            None => {
                self.smoothed = Some(round_trip);
                self.variation = round_trip / 2;
            }
            Some(smoothed) => {
                self.variation = (self.variation * 3 + smoothed.abs_diff(round_trip)) / 4;
                self.smoothed = Some((smoothed * 7 + round_trip) / 8);
            }
        }
        self.doublings = 0;
    }

    /// Nothing came in time: the next estimate is twice this one, and stays so until a round trip is measured (Karn:
    /// an acknowledgement of a block that was sent twice measures nothing).
    pub fn missed(&mut self) {
        self.doublings = (self.doublings + 1).min(8);
    }

    /// How long to wait for the acknowledgement of what was sent, after `retransmissions` of it.
    pub fn pause(&self, retransmissions: u8) -> Duration {
        let late = retransmissions.checked_sub(RETRANSMISSIONS_MAX - 2).map(usize::from);
        let floor = late.and_then(|late| LATE_PAUSES.get(late.min(2))).copied();
        floor.map_or(self.estimate(), |floor| floor.max(self.timeout.unwrap_or_default()))
    }

    /// How long to wait for a first acknowledgement, after this many datagrams.
    pub fn opening_pause(&self, datagrams: u8) -> Duration {
        let later = datagrams.checked_sub(2).map(usize::from);
        later.and_then(|later| OPENING_PAUSES.get(later.min(1))).copied().unwrap_or_else(|| self.estimate())
    }

    fn estimate(&self) -> Duration {
        let measured = self.smoothed.map_or(RTO_INITIAL, |smoothed| smoothed + 4 * self.variation);
        (measured.max(RTO_MIN) * 2u32.pow(self.doublings)).min(RTO_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_fast_link_is_retried_fast() {
        let mut patience = Patience::new(None);
        assert_eq!(patience.pause(0), RTO_INITIAL);
        for _ in 0..8 {
            patience.measured(ms(1));
        }
        assert_eq!(patience.pause(0), RTO_MIN);
        patience.missed();
        assert_eq!(patience.pause(1), RTO_MIN * 2);
        patience.missed();
        assert_eq!([2, 3, 4, 5].map(|sent| patience.pause(sent)), [ms(120), ms(1000), ms(4000), ms(10_000)]);
        patience.measured(ms(1));
        assert_eq!(patience.pause(0), RTO_MIN);
    }

    #[test]
    fn a_slow_phone_is_not_hurried() {
        let mut patience = Patience::new(Some(Duration::from_secs(255)));
        for _ in 0..20 {
            patience.measured(ms(300));
        }
        assert!(patience.pause(0) >= ms(300) && patience.pause(0) < ms(400), "{:?}", patience.pause(0));
        assert_eq!(patience.pause(5), TIMEOUT_MAX);
    }

    #[test]
    fn an_unproven_peer_is_forgotten_after_three_datagrams() {
        let patience = Patience::new(None);
        assert_eq!([1, 2, 3].map(|sent| patience.opening_pause(sent)), [ms(250), ms(1000), ms(4000)]);
    }
}
