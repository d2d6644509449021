//! What a REQUEST is answered (RFC 2131, section 4.3.2): of a client that selects an offer, starts anew with the address
//! it had, renews, or rebinds.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Instant;

use super::super::Packet;
use super::super::decide::Who;
use super::super::message::{Message, code};
use super::super::pool::State;
use super::super::reply::Because;
use super::super::rule::Rule;
use super::super::silence::Why;
use super::{Exchange, Guest, Server};
use crate::device::Mac;
use crate::rule::holds;

/// What a client that wants to go on with an address has here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// A lease of it.
    Live,
    /// It had it (not: was only offered it), or it is reserved for it, and nobody else has it now.
    Open,
    /// Our record says another address, and is ours to say.
    Other,
    /// Nothing that we know of.
    Unknown,
}

impl Server {
    pub(super) fn request(
        &mut self,
        packet: &Packet,
        who: Who,
        values: &BTreeMap<u8, Vec<u8>>,
        now: Instant,
    ) -> Result<(), Why> {
        let message = &packet.message;
        let requested = message.options.address(code::REQUESTED_ADDRESS);
        let is_selecting = message.options.get(code::SERVER).is_some();
        match (is_selecting, message.ciaddr.is_unspecified()) {
            (true, true) => {
                if let Err(why) = self.is_for_us(message) {
                    self.lost_to_another(message, now);
                    return Err(why);
                }
                self.watch.is_serving()?;
                let guest = self.admit(message, who, values, true)?;
                self.selecting(packet, guest, requested.ok_or(Why::Malformed)?, now)
            }
            (false, true) => {
                self.watch.is_serving()?;
                let guest = self.admit(message, who, values, true)?;
                self.go_on(packet, guest, requested.ok_or(Why::Malformed)?, Because::InitReboot, now)
            }
            (_, false) => {
                self.is_for_us_or_all(message)?;
                self.watch.is_renewing()?;
                let guest = self.admit(message, who, values, false)?;
                let is_ours = self.settings.table.is_ours(*packet.to.ip());
                let because = if is_ours { Because::Renewing } else { Because::Rebinding };
                self.go_on(packet, guest, message.ciaddr, because, now)
            }
        }
    }

    /// Whether the message names this server.
    pub(super) fn is_for_us(&self, message: &Message) -> Result<(), Why> {
        match message.options.number::<u32>(code::SERVER).map(Ipv4Addr::from) {
            Some(server) if server == self.settings.address => Ok(()),
            Some(_) => Err(Why::ForAnother),
            None => Err(Why::Malformed),
        }
    }

    fn is_for_us_or_all(&self, message: &Message) -> Result<(), Why> {
        if message.options.get(code::SERVER).is_none() { Ok(()) } else { self.is_for_us(message) }
    }

    /// The client took another server's offer: ours is over. That server is there, even if a switch hides what it says.
    fn lost_to_another(&mut self, message: &Message, now: Instant) {
        self.take_back_offer(message.mac, None);
        let server = message.options.number::<u32>(code::SERVER).map(Ipv4Addr::from);
        if let Some(server) = server.filter(|server| !self.settings.table.is_ours(*server)) {
            self.foreign(server, now);
        }
    }

    /// The client takes what we offered. If we know nothing of that, it hears so at once: it asked us and nobody else.
    fn selecting(
        &mut self,
        packet: &Packet,
        guest: Guest<'_>,
        address: Ipv4Addr,
        now: Instant,
    ) -> Result<(), Why> {
        let mac = packet.message.mac;
        let slot = self.pool.slot(address).filter(|slot| slot.mac == Some(mac));
        match slot.map(|slot| (slot.state, slot.writing)) {
            Some((_, Some(_))) => Err(Why::Writing),
            Some((State::Offered | State::Leased, None)) => {
                self.pace.allows(mac, guest.is_known, now)?;
                self.grant(packet, guest, address, Because::Selecting);
                Ok(())
            }
            Some((State::Probing | State::Writing | State::Free | State::Quarantined, None)) | None => {
                self.pace.allows(mac, guest.is_known, now)?;
                self.refuse(packet, Because::Selecting)
            }
        }
    }

    /// The client goes on with the address that it has, or had before it started anew.
    fn go_on(
        &mut self,
        packet: &Packet,
        guest: Guest<'_>,
        address: Ipv4Addr,
        because: Because,
        now: Instant,
    ) -> Result<(), Why> {
        let mac = packet.message.mac;
        let own = self.pool.slot(address).filter(|slot| slot.mac == Some(mac));
        if own.is_some_and(|slot| slot.state == State::Probing) {
            return Err(Why::Probing);
        }
        let claim = self.claim(mac, address, because);
        if claim == Claim::Unknown {
            return Err(Why::Unknown);
        }
        // Beside another server nothing but leases that run: neither new ones nor a NAK.
        if claim != Claim::Live {
            self.watch.is_serving()?;
        }
        if claim == Claim::Open {
            self.is_room_for(guest, mac, now)?;
        }
        if own.is_some_and(|slot| slot.writing.is_some()) {
            return Err(Why::Writing);
        }
        self.pace.allows(mac, guest.is_known, now)?;
        match claim {
            Claim::Live => self.grant(packet, guest, address, because),
            Claim::Open if self.settings.dry_run || self.settings.relay.is_some() => {
                self.take_back_offer(mac, Some(address));
                self.hold(address, mac, now);
                self.grant(packet, guest, address, because);
            }
            Claim::Open => {
                let (lease, reply) = self.ack(packet, guest, address, because);
                self.take_back_offer(mac, Some(address));
                return self.probe(address, Exchange { reply, lease: Some(lease), probes: 1 }, now);
            }
            Claim::Other | Claim::Unknown => return self.refuse(packet, because),
        }
        Ok(())
    }

    /// What this client has to do with this address.
    ///
    /// Our record is ours to say where we alone give the addresses: of our own pool, and in a network that is not
    /// shared. A client whose address was reserved for somebody else meanwhile has to leave; one that has another
    /// address reserved for itself leaves when it starts anew, not in the middle of a call.
    fn claim(&self, mac: Mac, address: Ipv4Addr, because: Because) -> Claim {
        let reserved = self.pool.reservation(mac);
        let is_authority = !self.settings.shared || self.pool.covers(address);
        let elsewhere =
            because == Because::InitReboot && reserved.is_some_and(|reserved| reserved != address);
        let slot = self.pool.slot(address);
        let own = slot.filter(|slot| slot.mac == Some(mac));
        let had_it = own.is_some_and(|slot| slot.was_leased) || reserved == Some(address);
        match own.map(|slot| slot.state) {
            Some(State::Leased | State::Writing) if elsewhere || !self.pool.may_have(mac, address) => {
                Claim::Other
            }
            Some(State::Leased | State::Writing) => Claim::Live,
            // It asks for what it was offered before, without saying who offered it.
            Some(State::Offered | State::Probing) => Claim::Unknown,
            Some(State::Free) if had_it && !elsewhere && self.pool.may_have(mac, address) => Claim::Open,
            None if reserved == Some(address) && slot.is_none_or(|slot| slot.state == State::Free) => {
                Claim::Open
            }
            Some(State::Free | State::Quarantined) | None => {
                let has_another = reserved.is_some_and(|reserved| reserved != address) || self.has_lease(mac);
                if has_another && is_authority || !holds(Rule::OwnNakOnly) {
                    Claim::Other
                } else {
                    Claim::Unknown
                }
            }
        }
    }

    /// The lease is written down, and then its ACK leaves.
    fn grant(&mut self, packet: &Packet, guest: Guest<'_>, address: Ipv4Addr, because: Because) {
        let (lease, reply) = self.ack(packet, guest, address, because);
        if self.settings.dry_run { self.send(reply) } else { self.write(lease, reply) }
    }

    /// NAK. Not to a client behind a router that renews past its relay: what is broadcast here never reaches it.
    fn refuse(&mut self, packet: &Packet, because: Because) -> Result<(), Why> {
        if self.settings.relay.is_some() && packet.message.giaddr.is_unspecified() {
            return Err(Why::Relay);
        }
        let reply = self.nak(packet, because);
        self.send(reply);
        Ok(())
    }
}
