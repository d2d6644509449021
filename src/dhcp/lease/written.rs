//! What is written down, and what happens when it is: ACKs leave, addresses are given back.

use std::time::{Duration, Instant};

use super::super::message::{Message, code};
use super::super::pool::{Pool, State};
use super::super::reply::{Because, Reply};
use super::super::rule::Rule;
use super::super::silence::Why;
use super::{Alarm, Change, Command, Kept, Lease, Moment, REST, Record, Server, Writing};
use crate::rule::holds;

impl Server {
    /// Writes a lease down; its ACK waits.
    pub(super) fn write(&mut self, lease: Lease, reply: Reply) {
        let Lease { address, mac, duration, .. } = lease;
        if self.pool.slot(address).is_some_and(|slot| slot.state != State::Leased) {
            self.pool.put(address, mac, State::Writing, None);
        }
        if !holds(Rule::CommitFirst) {
            self.send(reply.clone());
        }
        let id = self.commit(Change::Leased(lease));
        self.pool.write(address, Some(id));
        self.writing.insert(id, Writing { reply, address, duration });
    }

    pub(super) fn commit(&mut self, change: Change) -> u64 {
        self.last_id += 1;
        self.commands.push_back(Command::Commit { id: self.last_id, change });
        self.last_id
    }

    /// The lease is durable. Whoever declined or released it meanwhile gets no ACK any more.
    pub(super) fn committed(&mut self, id: u64, now: Instant) {
        let Some(Writing { reply, address, duration }) = self.writing.remove(&id) else { return };
        if self.pool.slot(address).is_none_or(|slot| slot.writing != Some(id)) {
            return;
        }
        let mac = reply.draft.mac;
        self.pool.put(address, mac, State::Leased, Some(now + duration + REST));
        self.pool.write(address, None);
        let is_renewal = matches!(reply.because, Because::Renewing | Because::Rebinding);
        let may = if is_renewal { self.watch.is_renewing() } else { self.watch.is_serving() };
        match may {
            Ok(()) => self.send(reply),
            Err(why) => self.silence(why, mac),
        }
    }

    /// The client asks again; until then it has what it had.
    pub(super) fn failed(&mut self, id: u64, now: Instant) {
        let Some(Writing { reply, address, .. }) = self.writing.remove(&id) else { return };
        let Some(slot) = self.pool.slot(address).filter(|slot| slot.writing == Some(id)) else { return };
        self.pool.write(address, None);
        if slot.state == State::Writing {
            self.hold(address, reply.draft.mac, now);
        }
        self.silence(Why::NotWritten, reply.draft.mac);
    }

    /// The client found the address that it was given in use.
    pub(super) fn decline(&mut self, message: &Message, now: Instant) -> Result<(), Why> {
        self.is_for_us(message)?;
        let address = message.options.address(code::REQUESTED_ADDRESS).ok_or(Why::Malformed)?;
        let slot =
            self.pool.slot(address).filter(|slot| slot.mac == Some(message.mac)).ok_or(Why::Unknown)?;
        match slot.state {
            State::Offered | State::Writing | State::Leased => {}
            State::Probing | State::Free | State::Quarantined => return Err(Why::Unknown),
        }
        self.quarantine(address, None, now);
        self.raise(Alarm::Declined { address, mac: message.mac }, now);
        Ok(())
    }

    /// The client needs its address no longer.
    pub(super) fn release(&mut self, message: &Message) -> Result<(), Why> {
        self.is_for_us(message)?;
        let (address, mac) = (message.ciaddr, message.mac);
        let slot = self.pool.slot(address).filter(|slot| slot.mac == Some(mac)).ok_or(Why::Unknown)?;
        if slot.state != State::Leased {
            return Err(Why::Unknown);
        }
        self.pool.free(address);
        self.commit(Change::Released { address, mac });
        Ok(())
    }
}

/// What was written down about an address is what it is again.
pub(super) fn restore(pool: &mut Pool, record: &Record, moment: &Moment, now: Instant) {
    let Record { address, mac, kept, .. } = *record;
    if !pool.covers(address) || !holds(Rule::LeasesAreKept) {
        return;
    }
    let rest = if kept == Kept::Leased { REST } else { Duration::ZERO };
    let left =
        (record.left(moment) + rest).saturating_sub(record.age(moment).saturating_sub(record.duration));
    match (kept, mac) {
        (Kept::Quarantined, _) | (Kept::Leased | Kept::Released, None) => {
            if !left.is_zero() {
                pool.quarantine(address, now + left);
            }
        }
        (Kept::Leased, Some(mac)) if !left.is_zero() => {
            pool.put(address, mac, State::Leased, Some(now + left));
        }
        (Kept::Leased | Kept::Released, Some(mac)) => {
            pool.put(address, mac, State::Leased, None);
            pool.free(address);
        }
    }
}
