//! The addresses of one pool: which are whose, for how long, and which one a client gets. Never sends, never probes,
//! never reads the clock.
//!
//! A client is its hardware address. Option 61 is written down but chooses nothing: a phone's boot loader and its
//! firmware send different ones (or none), and would take two addresses each; and on Ethernet one hardware address is
//! one host. Every choice costs O(log n), however large the pool.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::time::Instant;

use super::rule::Rule;
use crate::device::Mac;
use crate::rule::holds;

/// What an address is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Kept for a client while somebody looks whether the address is in use already.
    Probing,
    /// Kept for the client that it was offered to.
    Offered,
    /// Kept for the client that took it, while its first lease is being written.
    Writing,
    /// Leased.
    Leased,
    /// Whoever had it last gets it first; everybody else the later, the shorter it has been free.
    Free,
    /// Somebody uses it who did not get it from here.
    Quarantined,
}

/// One address that was used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// Whose it is, or was.
    pub(super) mac: Option<Mac>,
    pub(super) state: State,
    /// When that ends; never while it is free or being written.
    pub(super) until: Option<Instant>,
    /// Whether it was ever leased to that client, and not only offered.
    pub(super) was_leased: bool,
    /// The lease of it that is being written.
    pub(super) writing: Option<u64>,
    /// When it became free, in order.
    turn: u64,
}

/// The addresses of one pool.
#[derive(Debug)]
pub(super) struct Pool {
    first: u32,
    last: u32,
    /// Never given to anybody: the network's own, ours, the router's.
    excluded: HashSet<u32>,
    reservations: BTreeMap<Mac, u32>,
    reserved: HashMap<u32, Mac>,
    slots: HashMap<u32, Slot>,
    /// Each client's address; its slot names the client.
    clients: HashMap<Mac, u32>,
    /// Below it, no address is left that was never used.
    next: u32,
    free: BTreeSet<(u64, u32)>,
    turns: u64,
    due: BTreeSet<(Instant, u32)>,
    /// Addresses that everybody may get, and how many of them are not free.
    size: usize,
    taken: usize,
}

impl Pool {
    pub(super) fn new(
        first: Ipv4Addr,
        last: Ipv4Addr,
        excluded: impl IntoIterator<Item = Ipv4Addr>,
        reservations: &BTreeMap<Mac, Ipv4Addr>,
    ) -> Self {
        let (first, last) = (u32::from(first), u32::from(last));
        let mut pool = Self {
            first,
            last,
            excluded: excluded.into_iter().map(u32::from).collect(),
            reservations: BTreeMap::new(),
            reserved: HashMap::new(),
            slots: HashMap::new(),
            clients: HashMap::new(),
            next: first,
            free: BTreeSet::new(),
            turns: 0,
            due: BTreeSet::new(),
            size: 0,
            taken: 0,
        };
        pool.reserve(reservations);
        pool
    }

    /// Other reservations than before.
    pub(super) fn reserve(&mut self, reservations: &BTreeMap<Mac, Ipv4Addr>) {
        self.reservations = reservations.iter().map(|(mac, address)| (*mac, u32::from(*address))).collect();
        self.reserved = self.reservations.iter().map(|(mac, address)| (*address, *mac)).collect();
        self.next = self.first;
        let in_range = |address: &&u32| (self.first..=self.last).contains(*address);
        let apart: HashSet<&u32> =
            self.excluded.iter().chain(self.reserved.keys()).filter(in_range).collect();
        self.size = (self.last - self.first) as usize + 1 - apart.len();
        let slots = self.slots.iter().filter(|(address, _)| self.is_everybodys(**address));
        let (free, taken): (Vec<_>, Vec<_>) = slots.partition(|(_, slot)| slot.state == State::Free);
        let (free, taken) =
            (free.iter().map(|(address, slot)| (slot.turn, **address)).collect(), taken.len());
        (self.free, self.taken) = (free, taken);
    }

    /// How many addresses everybody may get.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// How many of them are not free.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Whether this address may be this client's.
    pub(super) fn may_have(&self, mac: Mac, address: Ipv4Addr) -> bool {
        let address = u32::from(address);
        match self.reserved.get(&address) {
            Some(owner) => *owner == mac,
            None => self.is_everybodys(address),
        }
    }

    /// Whether the address is one that this pool decides about.
    pub(super) fn covers(&self, address: Ipv4Addr) -> bool {
        let address = u32::from(address);
        (self.first..=self.last).contains(&address) || self.reserved.contains_key(&address)
    }

    /// The address that is reserved for this client.
    pub(super) fn reservation(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.reservations.get(&mac).copied().map(Ipv4Addr::from)
    }

    /// The client that this address is reserved for.
    pub(super) fn reserved_for(&self, address: Ipv4Addr) -> Option<Mac> {
        self.reserved.get(&u32::from(address)).copied()
    }

    /// The address that is, or was last, this client's.
    pub(super) fn of(&self, mac: Mac) -> Option<(Ipv4Addr, Slot)> {
        let address = *self.clients.get(&mac)?;
        self.slots.get(&address).map(|slot| (Ipv4Addr::from(address), *slot))
    }

    /// What this address is doing, where it was ever used.
    pub(super) fn slot(&self, address: Ipv4Addr) -> Option<Slot> {
        self.slots.get(&u32::from(address)).copied()
    }

    /// The addresses of the range that nobody has now, in order.
    pub(super) fn free_addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        let is_free = |address: &u32| self.slots.get(address).is_none_or(|slot| slot.state == State::Free);
        let range = (self.first..=self.last).filter(|address| !self.excluded.contains(address));
        range.filter(is_free).map(Ipv4Addr::from)
    }

    /// Every address that was used.
    pub(super) fn slots(&self) -> impl Iterator<Item = (Ipv4Addr, &Slot)> {
        self.slots.iter().map(|(address, slot)| (Ipv4Addr::from(*address), slot))
    }

    /// The address for this client (RFC 2131, section 4.3.1): the reserved one, the one it has or had, the one it asks
    /// for, one that was never used, the one that has been free the longest.
    pub(super) fn choose(&mut self, mac: Mac, requested: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let own = [self.reservations.get(&mac), self.clients.get(&mac)].map(Option::<&u32>::copied);
        let wanted = own.into_iter().chain([requested.map(u32::from)]).flatten();
        let may = |address: &u32| self.may_have(mac, (*address).into()) && self.is_open_to(mac, *address);
        let address = match wanted.into_iter().find(may) {
            Some(address) => Some(address),
            None => self.never_used().or_else(|| self.free.first().map(|(_, address)| *address)),
        };
        address.map(Ipv4Addr::from)
    }

    /// Gives the address to the client, in this state.
    pub(super) fn put(&mut self, address: Ipv4Addr, mac: Mac, state: State, until: Option<Instant>) {
        let address = u32::from(address);
        let old = self.leave(address).filter(|old| old.mac == Some(mac));
        let was_leased = state == State::Leased || old.is_some_and(|old| old.was_leased);
        let writing = old.and_then(|old| old.writing);
        self.clients.insert(mac, address);
        self.enter(address, Slot { mac: Some(mac), state, until, was_leased, writing, turn: 0 });
    }

    /// Remembers which lease of the address is being written.
    pub(super) fn write(&mut self, address: Ipv4Addr, id: Option<u64>) {
        if let Some(slot) = self.slots.get_mut(&u32::from(address)) {
            slot.writing = id;
        }
    }

    /// Everybody may have the address; whoever had it first.
    pub(super) fn free(&mut self, address: Ipv4Addr) {
        let address = u32::from(address);
        let Some(old) = self.slots.get(&address).copied() else { return };
        let current = old.mac.filter(|mac| self.clients.get(mac) == Some(&address));
        self.leave(address);
        if let Some(mac) = current {
            self.clients.insert(mac, address);
        }
        self.turns += 1;
        let state = State::Free;
        self.enter(address, Slot { state, until: None, writing: None, turn: self.turns, ..old });
    }

    /// Nobody gets the address until then.
    pub(super) fn quarantine(&mut self, address: Ipv4Addr, until: Instant) {
        let address = u32::from(address);
        self.leave(address);
        let state = State::Quarantined;
        self.enter(
            address,
            Slot { mac: None, state, until: Some(until), was_leased: false, writing: None, turn: 0 },
        );
    }

    /// When something ends next.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.due.first().map(|(until, _)| *until)
    }

    /// Frees the next address whose time is over, and says what it was.
    pub(super) fn end(&mut self, now: Instant) -> Option<(Ipv4Addr, Slot)> {
        let (_, address) = self.due.first().copied().filter(|(until, _)| *until <= now)?;
        let address = Ipv4Addr::from(address);
        let slot = self.slot(address);
        self.free(address);
        slot.map(|slot| (address, slot))
    }

    /// Takes the slot's traces out of every index, and the slot itself.
    fn leave(&mut self, address: u32) -> Option<Slot> {
        let slot = self.slots.remove(&address)?;
        if let Some(until) = slot.until {
            self.due.remove(&(until, address));
        }
        if slot.state == State::Free {
            self.free.remove(&(slot.turn, address));
        } else if self.is_everybodys(address) {
            self.taken -= 1;
        }
        if let Some(mac) = slot.mac.filter(|mac| self.clients.get(mac) == Some(&address)) {
            self.clients.remove(&mac);
        }
        Some(slot)
    }

    fn enter(&mut self, address: u32, slot: Slot) {
        if let Some(until) = slot.until {
            self.due.insert((until, address));
        }
        match (slot.state, self.is_everybodys(address)) {
            (State::Free, true) => drop(self.free.insert((slot.turn, address))),
            (_, false) => {}
            (_, true) => self.taken += 1,
        }
        self.slots.insert(address, slot);
    }

    fn is_everybodys(&self, address: u32) -> bool {
        (self.first..=self.last).contains(&address)
            && !self.excluded.contains(&address)
            && !self.reserved.contains_key(&address)
    }

    /// Whether nobody else has the address.
    fn is_open_to(&self, mac: Mac, address: u32) -> bool {
        self.slots.get(&address).is_none_or(|slot| match slot.state {
            State::Free => true,
            State::Quarantined => false,
            State::Probing | State::Offered | State::Writing | State::Leased => {
                slot.mac == Some(mac) || !holds(Rule::OneHolder)
            }
        })
    }

    fn never_used(&mut self) -> Option<u32> {
        while self.next <= self.last {
            if self.is_everybodys(self.next) && !self.slots.contains_key(&self.next) {
                return Some(self.next);
            }
            self.next = self.next.checked_add(1)?;
        }
        None
    }
}
