//! How often a network and a client are answered. Never sends, never reads the clock.

use std::time::{Duration, Instant};

use super::silence::Why;
use crate::device::Mac;
use crate::net::limit::Limiter;

/// Answers to one client at once: an OFFER, an ACK, the answer to the INFORM that follows, and one of them again.
const PER_CLIENT_BURST: u32 = 4;
/// One more answer to the same client after each of these: two in a second.
const PER_CLIENT_EVERY: Duration = Duration::from_millis(500);
/// Clients whose answers are counted at a time. An entry is needed for two seconds, so more than [`KNOWN_PER_S`] fit.
const CLIENTS_MAX: usize = 262_144;
/// Answers per second to clients that are known, all together. Not a choke: a fleet of 10,000 takes 20,000 answers when
/// the power returns, and what keeps one phone from being a flood is its own rate.
const KNOWN_PER_S: u32 = 100_000;

/// How often a network and a client are answered.
///
/// A stranger costs the LAN a broadcast or two and the pool an address, so strangers share a rate that no LAN notices
/// (`dhcp.answers_per_s`, 50). Their burst is what a site of unknown phones needs when the power returns: at 50 a second
/// alone, 1,000 phones with two answers each would take 40 s, and most of them would have asked again three times (after
/// 4, 8 and 16 s). Phones that are known have a rate of their own, so that no stranger costs them an answer.
#[derive(Debug)]
pub struct Pace {
    clients: Limiter<Mac>,
    known: Limiter<()>,
    strangers: Limiter<()>,
}

impl Pace {
    /// Strangers get `answers_per_s`, and `burst` at once.
    pub fn new(answers_per_s: u32, burst: u32) -> Self {
        let rate = answers_per_s.max(1);
        let per_second = |burst, rate: u32| Limiter::new(burst, Duration::from_secs(1) / rate, 1);
        Self {
            clients: Limiter::new(PER_CLIENT_BURST, PER_CLIENT_EVERY, CLIENTS_MAX),
            known: per_second(KNOWN_PER_S.max(rate), KNOWN_PER_S.max(rate)),
            strangers: per_second(burst.max(rate), rate),
        }
    }

    /// Whether this client may be answered now; if so, it has used its turn.
    pub fn allows(&mut self, mac: Mac, is_known: bool, now: Instant) -> Result<(), Why> {
        if !self.clients.allows(mac, now) {
            return Err(Why::ClientRate);
        }
        let all = if is_known { &mut self.known } else { &mut self.strangers };
        if all.allows((), now) { Ok(()) } else { Err(Why::Rate) }
    }
}
