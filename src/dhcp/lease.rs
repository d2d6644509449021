//! Gives leases to phones (RFC 2131, section 4.3): one [`Server`] for each pool. Never sends, never probes, never writes
//! and never reads the clock: it says what shall happen.
//!
//! A LAN that has a DHCP server does not need this one, so it stays silent whenever it could be in somebody's way:
//!
//! 1. Only phones are answered, unless the administrator said otherwise and no other server was ever seen.
//! 2. Once another server is heard, leases are renewed and nobody else is answered, until a person switches on again
//!    after that server was silent for 15 minutes. Three signs of harm in a minute switch the pool off.
//! 3. An address is offered when it was probed and nobody uses it. Behind a relay it cannot be probed (ARP ends at the
//!    router); there a client's DECLINE tells.
//! 4. An ACK leaves when its lease is written down durably.
//! 5. A NAK says that this server's own record, or own offer, is another one. Nobody hears one who did not ask us or who
//!    has no record here.

mod answer;
mod record;
mod request;
mod settings;
mod stand;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

pub use record::{Change, Kept, Lease, Moment, REST, Record};
pub use settings::{ADDRESSES_MAX, LEASE_MIN, Settings, SettingsError};
pub use stand::{Alarm, SILENCE_BEFORE_RETURN, Stand};

use super::Packet;
use super::decide::{self, Scope, Standing, Who};
use super::message::{Kind, Message, code};
use super::pace::Pace;
use super::pool::{Pool, State};
use super::reply::{Because, Destination, Reply};
use super::silence::Why;
use crate::device::Mac;
use stand::{Raised, Watch};

/// An offered address is kept for its client for so long: the four times that a client sends its REQUEST (RFC 2131,
/// section 4.1: after 4, 8, 16 and 32 s).
const OFFER_HELD: Duration = Duration::from_secs(60);
/// A probe takes half a second; whose result has not come by then will not come.
const PROBE_LOST: Duration = Duration::from_secs(5);
/// Addresses that are probed at a time. Each costs two ARP broadcasts in half a second; more would be felt on the LAN,
/// and the clients ask again.
const PROBES_MAX: usize = 2_048;
/// Addresses that are probed for one DISCOVER: a client waits for about four seconds before it asks again.
const PROBES_PER_QUESTION: u8 = 3;
/// How long an address is not used after a conflict.
const QUARANTINE: Duration = Duration::from_secs(60 * 60);
/// Strangers get an address while less than so much of the pool is taken, in percent.
const STRANGERS_PERCENT: usize = 80;
/// In a shared network a client is answered when it has waited so long for the other server, in seconds.
const OTHER_FIRST_S: u16 = 4;
/// Clients whose first DISCOVER is remembered in a shared network; beyond, some have to ask once more.
const ASKED_MAX: usize = 4_096;
/// Answers to strangers at once, at most: OFFER and ACK for 1,000 phones; never more than twice the pool.
const STRANGERS_BURST_MAX: usize = 2_000;

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A message came, of a client or of another server.
    Packet {
        /// The message.
        packet: &'a Packet,
        /// Who its client is.
        who: &'a Who,
        /// What the client's profile knows, by option.
        values: &'a BTreeMap<u8, Vec<u8>>,
    },
    /// [`Command::Probe`] is done.
    Probed {
        /// Which address.
        address: Ipv4Addr,
        /// Who uses it.
        by: Option<Mac>,
    },
    /// [`Command::Commit`] is done: it is durable.
    Committed {
        /// Which.
        id: u64,
    },
    /// [`Command::Commit`] failed: nothing is written.
    Failed {
        /// Which.
        id: u64,
    },
    /// Another server was found otherwise than by its messages here.
    Foreign {
        /// Which.
        server: Ipv4Addr,
    },
    /// The reservations are these; [`Settings::check_reservations`] is the caller's.
    Reserved(BTreeMap<Mac, Ipv4Addr>),
    /// A person switches off.
    SwitchedOff,
    /// A person switches on, or back on after another server was heard.
    SwitchedOn,
}

/// What shall happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Look whether somebody uses the address (ARP, twice 250 ms), and hand in [`Input::Probed`].
    Probe {
        /// Which address.
        address: Ipv4Addr,
    },
    /// Write this down durably, in order, and hand in [`Input::Committed`] or [`Input::Failed`].
    Commit {
        /// To be handed back.
        id: u64,
        /// What.
        change: Change,
    },
    /// Send this.
    Send(Reply),
    /// A dry run: say that this would have been sent.
    WouldSend(Reply),
    /// Count that a question got no answer.
    Silence {
        /// Why.
        why: Why,
        /// Whose question.
        mac: Mac,
    },
    /// The pool is served, or no longer; write it down and say it.
    Stand(Stand),
    /// Tell the administrator.
    Alarm(Alarm),
}

/// One pool and everything that is promised from it.
#[derive(Debug)]
pub struct Server {
    settings: Settings,
    pool: Pool,
    pace: Pace,
    watch: Watch,
    /// What is answered when the probe finds nobody, by address.
    probing: HashMap<Ipv4Addr, Exchange>,
    /// ACKs that wait for their lease to be durable.
    writing: HashMap<u64, Writing>,
    last_id: u64,
    /// In a shared network: which exchange each client began.
    asked: HashMap<Mac, u32>,
    commands: VecDeque<Command>,
}

/// An answer that waits for a probe.
#[derive(Debug)]
struct Exchange {
    reply: Reply,
    /// With an ACK, the lease that comes before it.
    lease: Option<Lease>,
    probes: u8,
}

#[derive(Debug)]
struct Writing {
    reply: Reply,
    address: Ipv4Addr,
    duration: Duration,
}

/// What a client may have.
#[derive(Debug, Clone, Copy)]
struct Guest<'a> {
    is_known: bool,
    values: &'a BTreeMap<u8, Vec<u8>>,
}

impl Server {
    /// The pool with what was written down about it, the oldest first.
    pub fn new(
        settings: Settings,
        records: &[Record],
        stand: Stand,
        moment: &Moment,
        now: Instant,
    ) -> Result<Self, SettingsError> {
        settings.check()?;
        let mut pool = Pool::new(settings.first, settings.last, settings.excluded(), &settings.reservations);
        for record in records {
            restore(&mut pool, record, moment, now);
        }
        let burst = STRANGERS_BURST_MAX.min(pool.size() * 2);
        let pace = Pace::new(settings.answers_per_s, u32::try_from(burst).unwrap_or(u32::MAX));
        Ok(Self {
            pool,
            pace,
            watch: Watch::new(stand, now),
            probing: HashMap::new(),
            writing: HashMap::new(),
            last_id: 0,
            asked: HashMap::new(),
            commands: VecDeque::new(),
            settings,
        })
    }

    /// Whether a message concerns this pool's network: by the relay that it came through, by the address that a client
    /// goes on with, else by the interface. A client of a relay's network renews straight, past the relay.
    pub fn fits(&self, packet: &Packet) -> bool {
        let Message { giaddr, ciaddr, from_server, .. } = packet.message;
        let Settings { interface, relay, prefix, .. } = &self.settings;
        let is_here = if !giaddr.is_unspecified() {
            // A relay leaves its address in the answers that it passes on, where clients and we hear them.
            *relay == Some(giaddr) || from_server && relay.is_none() && prefix.contains(giaddr)
        } else if from_server || ciaddr.is_unspecified() {
            relay.is_none()
        } else {
            prefix.contains(ciaddr)
        };
        packet.interface == *interface && is_here
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Packet { packet, .. } if packet.message.from_server => self.overhear(packet, now),
            Input::Packet { packet, who, values } => {
                if let Err(why) = self.answer(packet, who, values, now) {
                    self.silence(why, packet.message.mac);
                }
            }
            Input::Probed { address, by } => self.probed(address, by, now),
            Input::Committed { id } => self.committed(id, now),
            Input::Failed { id } => self.failed(id, now),
            Input::Foreign { server } => self.foreign(server, now),
            Input::Reserved(reservations) => {
                self.pool.reserve(&reservations);
                self.settings.reservations = reservations;
            }
            Input::SwitchedOff => self.stop(false),
            Input::SwitchedOn => {
                self.watch.on(now);
                self.commands.push_back(Command::Stand(self.watch.stand));
            }
        }
    }

    /// The next thing to do; ask until there is none.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When [`Server::handle_timeout`] wants to be called, at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.pool.next_end()
    }

    /// Takes back offers that nobody took, and frees addresses whose leases have ended.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((address, slot)) = self.pool.end(now) {
            if slot.state == State::Probing {
                self.probing.remove(&address);
            }
        }
    }

    /// Whether it is served.
    pub fn stand(&self) -> Stand {
        self.watch.stand
    }

    /// As it was configured, with what was learned about other servers.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many of the addresses that everybody may get are taken, and how many there are.
    pub fn used(&self) -> (usize, usize) {
        (self.pool.taken(), self.pool.size())
    }

    /// Every address that was used: whose it is, what it is doing, and until when.
    pub fn addresses(&self) -> impl Iterator<Item = (Ipv4Addr, Option<Mac>, State, Option<Instant>)> {
        self.pool.slots().map(|(address, slot)| (address, slot.mac, slot.state, slot.until))
    }

    fn answer(
        &mut self,
        packet: &Packet,
        who: &Who,
        values: &BTreeMap<u8, Vec<u8>>,
        now: Instant,
    ) -> Result<(), Why> {
        decide::is_question(packet)?;
        if !self.fits(packet) {
            return Err(if packet.message.giaddr.is_unspecified() { Why::NoPool } else { Why::Relay });
        }
        match packet.message.kind {
            Kind::Discover => self.discover(packet, who, values, now),
            Kind::Request => self.request(packet, who, values, now),
            Kind::Inform => self.inform(packet, who, values, now),
            Kind::Decline => self.decline(&packet.message, now),
            Kind::Release => self.release(&packet.message),
            Kind::Offer | Kind::Ack | Kind::Nak | Kind::ForceRenew => Err(Why::NotAQuestion),
        }
    }

    fn discover(
        &mut self,
        packet: &Packet,
        who: &Who,
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
            _ if self.settings.relay.is_some() => self.hold(address, mac, now),
            _ => return self.probe(address, Exchange { reply, lease: None, probes: 1 }, now),
        }
        self.send(reply);
        Ok(())
    }

    fn inform(
        &mut self,
        packet: &Packet,
        who: &Who,
        values: &BTreeMap<u8, Vec<u8>>,
        now: Instant,
    ) -> Result<(), Why> {
        self.watch.is_serving()?;
        let scope = Scope { table: &self.settings.table, relays: self.settings.relay.as_slice() };
        let reply = decide::inform(packet, &scope, who, values)?;
        self.pace.allows(packet.message.mac, who.standing == Standing::Approved, now)?;
        self.send(reply);
        Ok(())
    }

    /// The client found the address that it was given in use.
    fn decline(&mut self, message: &Message, now: Instant) -> Result<(), Why> {
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
    fn release(&mut self, message: &Message) -> Result<(), Why> {
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

    /// Whether, and as what, a client is served at all. `is_new`: it wants an address that it does not have.
    fn admit<'a>(
        &self,
        message: &Message,
        who: &Who,
        values: &'a BTreeMap<u8, Vec<u8>>,
        is_new: bool,
    ) -> Result<Guest<'a>, Why> {
        const NOTHING: &BTreeMap<u8, Vec<u8>> = &BTreeMap::new();
        let all = self.settings.serve_all && !(is_new && self.settings.foreign_seen);
        if decide::is_rogue_detection(message) {
            return Err(Why::RogueDetection);
        }
        if decide::is_microsoft(message) && !all {
            return Err(Why::Microsoft);
        }
        let values = match who.is_served() {
            Ok(()) => values,
            // It needs an address before anybody can see what it is; where its configuration is, it is not told.
            Err(Why::Pending) => NOTHING,
            Err(Why::NotAPhone | Why::Unwelcome) if all => NOTHING,
            Err(why) => return Err(why),
        };
        let is_known = who.is_phone() && who.standing == Standing::Approved
            || self.pool.reservation(message.mac).is_some();
        Ok(Guest { is_known: is_known || self.has_lease(message.mac), values })
    }

    fn has_lease(&self, mac: Mac) -> bool {
        self.pool.of(mac).is_some_and(|(_, slot)| slot.state == State::Leased)
    }

    /// In a shared network the other server wins whenever it lives.
    fn other_first(&mut self, message: &Message) -> Result<(), Why> {
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
    fn is_room_for(&mut self, guest: Guest<'_>, mac: Mac, now: Instant) -> Result<(), Why> {
        let (taken, size) = self.used();
        let has_one = self.pool.of(mac).is_some_and(|(_, slot)| slot.state != State::Free);
        if guest.is_known || has_one || taken * 100 < size * STRANGERS_PERCENT {
            return Ok(());
        }
        self.raise(Alarm::Starvation, now);
        Err(Why::Starvation)
    }

    /// Has the address probed before the answer leaves.
    fn probe(&mut self, address: Ipv4Addr, exchange: Exchange, now: Instant) -> Result<(), Why> {
        if self.probing.len() >= PROBES_MAX {
            return Err(Why::Busy);
        }
        self.pool.put(address, exchange.reply.draft.mac, State::Probing, Some(now + PROBE_LOST));
        self.probing.insert(address, exchange);
        self.commands.push_back(Command::Probe { address });
        Ok(())
    }

    fn probed(&mut self, address: Ipv4Addr, by: Option<Mac>, now: Instant) {
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

    /// Writes a lease down; its ACK waits.
    fn write(&mut self, lease: Lease, reply: Reply) {
        let Lease { address, mac, duration, .. } = lease;
        if self.pool.slot(address).is_some_and(|slot| slot.state != State::Leased) {
            self.pool.put(address, mac, State::Writing, None);
        }
        let id = self.commit(Change::Leased(lease));
        self.pool.write(address, Some(id));
        self.writing.insert(id, Writing { reply, address, duration });
    }

    fn commit(&mut self, change: Change) -> u64 {
        self.last_id += 1;
        self.commands.push_back(Command::Commit { id: self.last_id, change });
        self.last_id
    }

    /// The lease is durable. Whoever declined or released it meanwhile gets no ACK any more.
    fn committed(&mut self, id: u64, now: Instant) {
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
    fn failed(&mut self, id: u64, now: Instant) {
        let Some(Writing { reply, address, .. }) = self.writing.remove(&id) else { return };
        let Some(slot) = self.pool.slot(address).filter(|slot| slot.writing == Some(id)) else { return };
        self.pool.write(address, None);
        if slot.state == State::Writing {
            self.hold(address, reply.draft.mac, now);
        }
        self.silence(Why::NotWritten, reply.draft.mac);
    }

    fn hold(&mut self, address: Ipv4Addr, mac: Mac, now: Instant) {
        self.pool.put(address, mac, State::Offered, Some(now + OFFER_HELD));
    }

    fn quarantine(&mut self, address: Ipv4Addr, by: Option<Mac>, now: Instant) {
        self.probing.remove(&address);
        self.pool.quarantine(address, now + QUARANTINE);
        self.commit(Change::Quarantined { address, by, duration: QUARANTINE });
    }

    /// What this client was offered, if it is another address, is everybody's again.
    fn take_back_offer(&mut self, mac: Mac, except: Option<Ipv4Addr>) {
        let Some((address, slot)) = self.pool.of(mac).filter(|(address, _)| Some(*address) != except) else {
            return;
        };
        if matches!(slot.state, State::Probing | State::Offered) {
            self.probing.remove(&address);
            self.pool.free(address);
        }
    }

    /// Somebody answers a client of this network.
    fn overhear(&mut self, packet: &Packet, now: Instant) {
        let Message { kind, options, .. } = &packet.message;
        if !matches!(kind, Kind::Offer | Kind::Ack | Kind::Nak) || !self.fits(packet) {
            return;
        }
        let server = options.address(code::SERVER).unwrap_or(*packet.from.ip());
        // What we sent may come back by a bridge; a server beside us on this host is another one.
        if self.settings.table.is_ours(server) && !packet.is_own_hosts {
            return;
        }
        if let Some(seconds) = options.number::<u32>(code::LEASE_TIME) {
            let lease = Duration::from_secs(seconds.into());
            let shortest = self.settings.foreign_lease.map_or(lease, |known| known.min(lease));
            self.settings.foreign_lease = Some(shortest);
        }
        self.foreign(server, now);
    }

    /// Another server answers here: in a shared network that is as it should be, and a dry run is in nobody's way.
    fn foreign(&mut self, server: Ipv4Addr, now: Instant) {
        self.settings.foreign_seen = true;
        if self.settings.shared || self.settings.dry_run {
            return;
        }
        if self.watch.yields_to(server, now) {
            self.take_back_offers();
            self.commands.push_back(Command::Stand(self.watch.stand));
            self.raise(Alarm::Foreign { server }, now);
        }
    }

    fn stop(&mut self, automatic: bool) {
        self.watch.off(automatic);
        self.take_back_offers();
        self.commands.push_back(Command::Stand(self.watch.stand));
    }

    fn take_back_offers(&mut self) {
        self.probing.clear();
        let is_offer = |state| matches!(state, State::Probing | State::Offered);
        let offers = self.pool.slots().filter(|(_, slot)| is_offer(slot.state));
        let offers: Vec<Ipv4Addr> = offers.map(|(address, _)| address).collect();
        offers.into_iter().for_each(|address| self.pool.free(address));
    }

    fn raise(&mut self, alarm: Alarm, now: Instant) {
        match self.watch.raise(alarm, now) {
            Raised::Again => {}
            Raised::New => self.commands.push_back(Command::Alarm(alarm)),
            Raised::TooMany => {
                self.commands.extend([Command::Alarm(alarm), Command::Alarm(Alarm::TooMany)]);
                self.stop(true);
            }
        }
    }

    fn send(&mut self, reply: Reply) {
        let dry = self.settings.dry_run;
        self.commands.push_back(if dry { Command::WouldSend(reply) } else { Command::Send(reply) });
    }

    fn silence(&mut self, why: Why, mac: Mac) {
        self.commands.push_back(Command::Silence { why, mac });
    }
}

/// What was written down about an address is what it is again.
fn restore(pool: &mut Pool, record: &Record, moment: &Moment, now: Instant) {
    let Record { address, mac, kept, .. } = *record;
    if !pool.covers(address) {
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
