//! What a DISCOVER is answered: which address is probed, and then offered (RFC 2131, section 4.3.1).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::super::Packet;
use super::super::decide::Who;
use super::super::message::{Message, code};
use super::super::pool::State;
use super::super::reply::Destination;
use super::super::rule::Rule;
use super::super::silence::Why;
use super::{Alarm, Change, Command, Exchange, Guest, Server, answer};
use crate::device::Mac;
use crate::rule::holds;

/// An offered address is kept for its client for so long: the four times that a client sends its REQUEST (RFC 2131,
/// section 4.1: after 4, 8, 16 and 32 s).
const OFFER_HELD: Duration = Duration::from_mins(1);
/// A probe takes half a second; whose result has not come by then will not come.
const PROBE_LOST: Duration = Duration::from_secs(5);
/// Addresses that are probed at a time. Each costs two ARP broadcasts in half a second; more would be felt on the LAN,
/// and the clients ask again.
const PROBES_MAX: usize = 2_048;
/// Addresses that are probed for one DISCOVER: a client waits for about four seconds before it asks again.
const PROBES_PER_QUESTION: u8 = 3;
/// How long an address is not used after a conflict.
const QUARANTINE: Duration = Duration::from_hours(1);
/// Strangers get an address while less than so much of the pool is taken, in percent.
const STRANGERS_PERCENT: usize = 80;
/// In a shared network a client is answered when it has waited so long for the other server, in seconds.
const OTHER_FIRST_S: u16 = 4;
/// Clients whose first DISCOVER is remembered in a shared network; beyond, some have to ask once more.
const ASKED_MAX: usize = 4_096;
impl Server {
    pub(super) fn discover(
        &mut self,
        packet: &Packet,
        who: Who,
        values: &BTreeMap<u8, Vec<u8>>,
        now: Instant,
    ) -> Result<(), Why> {
        let message = &packet.message;
        let mac = message.mac;
        self.watch.is_serving()?;
        let guest = self.admit(message, who, values, true)?;
        let own = self.pool.of(mac);
        match own.map(|(address, slot)| (address, slot.state)) {
            // The same question again, or another one: the answer to the newest is what the client waits for.
            Some((address, State::Probing)) => {
                let reply = self.offer(packet, guest, address);
                if let Some(exchange) = self.probing.get_mut(&address) {
                    (exchange.reply, exchange.lease) = (reply, None);
                }
                return Err(Why::Probing);
            }
            Some((_, State::Writing)) => return Err(Why::Writing),
            Some((_, State::Offered | State::Leased | State::Free | State::Quarantined)) | None => {}
        }
        self.other_first(message)?;
        self.pace.allows(mac, guest.is_known, now)?;
        self.is_room_for(guest, mac, now)?;
        let requested = message.options.address(code::REQUESTED_ADDRESS);
        let Some(address) = self.pool.choose(mac, requested) else {
            self.raise(Alarm::Full, now);
            return Err(Why::Full);
        };
        let reply = self.offer(packet, guest, address);
        self.take_back_offer(mac, Some(address));
        match self.pool.slot(address).filter(|slot| slot.mac == Some(mac)).map(|slot| slot.state) {
            Some(State::Leased) => {}
            Some(State::Offered) => self.hold(address, mac, now),
            _ if self.settings.dry_run => {}
            _ if self.settings.relay.is_some() || !holds(Rule::ProbeFirst) => self.hold(address, mac, now),
            _ => return self.probe(address, Exchange { reply, lease: None, probes: 1 }, now),
        }
        self.send(reply);
        Ok(())
    }

    /// In a shared network the other server wins whenever it lives.
    pub(super) fn other_first(&mut self, message: &Message) -> Result<(), Why> {
        if !self.settings.shared || message.secs >= OTHER_FIRST_S {
            return Ok(());
        }
        if self.asked.len() >= ASKED_MAX {
            self.asked.clear();
        }
        match self.asked.insert(message.mac, message.xid) {
            Some(xid) if xid == message.xid => Ok(()),
            Some(_) | None => Err(Why::OtherFirst),
        }
    }

    /// The last addresses are for phones that are known.
    pub(super) fn is_room_for(&mut self, guest: Guest<'_>, mac: Mac, now: Instant) -> Result<(), Why> {
        let (taken, size) = self.used();
        let has_one = self.pool.of(mac).is_some_and(|(_, slot)| slot.state != State::Free);
        if guest.is_known || has_one || taken * 100 < size * STRANGERS_PERCENT {
            return Ok(());
        }
        self.raise(Alarm::Starvation, now);
        Err(Why::Starvation)
    }

    /// Has the address probed before the answer leaves.
    pub(super) fn probe(&mut self, address: Ipv4Addr, exchange: Exchange, now: Instant) -> Result<(), Why> {
        if self.probing.len() >= PROBES_MAX {
            return Err(Why::Busy);
        }
        self.pool.put(address, exchange.reply.draft.mac, State::Probing, Some(now + PROBE_LOST));
        self.probing.insert(address, exchange);
        self.commands.push_back(Command::Probe { address });
        Ok(())
    }

    pub(super) fn probed(&mut self, address: Ipv4Addr, by: Option<Mac>, now: Instant) {
        let Some(mut exchange) = self.probing.remove(&address) else { return };
        let mac = exchange.reply.draft.mac;
        let Some(by) = by.filter(|by| *by != mac) else {
            self.hold(address, mac, now);
            return match exchange.lease {
                Some(lease) => self.write(lease, exchange.reply),
                None => self.send(exchange.reply),
            };
        };
        self.quarantine(address, Some(by), now);
        self.raise(Alarm::Conflict { address, by }, now);
        if let Err(why) = self.watch.is_serving() {
            return self.silence(why, mac);
        }
        // A client that wants to go on with it has to start anew.
        if exchange.lease.is_some() {
            let reply = answer::refusal(&exchange.reply);
            return self.send(reply);
        }
        let next = self.pool.choose(mac, None).filter(|_| exchange.probes < PROBES_PER_QUESTION);
        let Some(next) = next else { return self.silence(Why::Conflicts, mac) };
        exchange.probes += 1;
        exchange.reply.draft.yiaddr = next;
        if let Destination::Client { address, .. } = &mut exchange.reply.to {
            *address = next;
        }
        if let Err(why) = self.probe(next, exchange, now) {
            self.silence(why, mac);
        }
    }

    pub(super) fn hold(&mut self, address: Ipv4Addr, mac: Mac, now: Instant) {
        self.pool.put(address, mac, State::Offered, Some(now + OFFER_HELD));
    }

    pub(super) fn quarantine(&mut self, address: Ipv4Addr, by: Option<Mac>, now: Instant) {
        self.probing.remove(&address);
        self.pool.quarantine(address, now + QUARANTINE);
        self.commit(Change::Quarantined { address, by, duration: QUARANTINE });
    }

    /// What this client was offered, if it is another address, is everybody's again.
    pub(super) fn take_back_offer(&mut self, mac: Mac, except: Option<Ipv4Addr>) {
        let Some((address, slot)) = self.pool.of(mac).filter(|(address, _)| Some(*address) != except) else {
            return;
        };
        if matches!(slot.state, State::Probing | State::Offered) {
            self.probing.remove(&address);
            self.pool.free(address);
        }
    }
}
