//! Gives leases to phones (RFC 2131, section 4.3): one [`Server`] for each pool. Never sends, never probes, never writes
//! and never reads the clock: it says what shall happen.
//!
//! A LAN that has a DHCP server does not need this one, so it stays silent whenever it could be in somebody's way:
//!
//! 1. Only phones are answered, unless the administrator said otherwise and no other server was ever seen.
//! 2. Once another server is heard, leases are renewed and nobody else is answered, until a person switches on again
//!    after that server was silent for 15 minutes. Three signs of harm in a minute switch the pool off.
//! 3. An address is offered when it was probed and nobody uses it. Behind a relay it cannot be probed (ARP ends at the
//!    router): there addresses that answer a ping before anybody is served rest, and a client's DECLINE tells the others.
//! 4. An ACK leaves when its lease is written down durably.
//! 5. A NAK says that this server's own record, or own offer, is another one. Nobody hears one who did not ask us or who
//!    has no record here.

mod answer;
mod offer;
mod record;
mod request;
mod settings;
mod stand;
mod written;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

pub use record::{Change, Kept, Lease, Moment, REST, Record};
pub use settings::{ADDRESSES_MAX, LEASE_MIN, Settings, SettingsError};
pub use stand::{Alarm, Harm, Raised, SILENCE_BEFORE_RETURN, Stand};

use super::Packet;
use super::decide::{self, Scope, Standing, Who};
use super::message::{Kind, Message};
use super::pace::Pace;
use super::pool::{Pool, State};
use super::reply::Reply;
use super::rule::Rule;
use super::silence::Why;
use crate::device::Mac;
use crate::rule::holds;
use stand::Watch;

/// Answers to strangers at once, at most: OFFER and ACK for 1,000 phones; never more than twice the pool.
const STRANGERS_BURST_MAX: usize = 2_000;

/// Free addresses that are looked at before the first lease.
const SWEPT_MAX: usize = 4_096;

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
    /// Somebody uses an address that nobody was given ([`Server::to_sweep`]).
    Swept {
        /// Which address.
        address: Ipv4Addr,
        /// Who uses it; `None` where only that is known, behind a relay.
        by: Option<Mac>,
    },
    /// Another agent looks for servers here, because it wants to be one ([`candidate`](super::probe::candidate)).
    Rival {
        /// Its question.
        packet: &'a Packet,
        /// Its address.
        other: Ipv4Addr,
        /// As which address this agent looks for others itself, for the same reason, while it does.
        searching: Option<Ipv4Addr>,
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
    /// What of them every client may be told.
    network: Vec<(u8, Vec<u8>)>,
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
            written::restore(&mut pool, record, moment, now);
        }
        let burst = STRANGERS_BURST_MAX.min(pool.size() * 2);
        let pace = Pace::new(settings.answers_per_s, u32::try_from(burst).unwrap_or(u32::MAX));
        Ok(Self {
            network: answer::network(&settings),
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
                if let Err(why) = self.answer(packet, *who, values, now) {
                    self.silence(why, packet.message.mac);
                }
            }
            Input::Probed { address, by } => self.probed(address, by, now),
            Input::Swept { address, by } if self.is_strange(address, by) => {
                self.quarantine(address, by, now);
            }
            Input::Swept { .. } => {}
            Input::Committed { id } => self.committed(id, now),
            Input::Failed { id } => self.failed(id, now),
            Input::Foreign { server } => self.foreign(server, now),
            Input::Rival { packet, other, searching } => {
                if let Err(why) = self.rival(packet, other, searching, now) {
                    self.silence(why, packet.message.mac);
                }
            }
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

    /// The addresses that are free to be given, the next ones first; no more than may be asked for in a minute, because
    /// every offer is probed as well.
    pub fn to_sweep(&self) -> Vec<Ipv4Addr> {
        self.pool.free_addresses().take(SWEPT_MAX).collect()
    }

    /// Whether it is news that this host uses the address: the address is free, and was not this host's. Of a host that
    /// is not known it might have been any client's.
    pub fn is_strange(&self, address: Ipv4Addr, by: Option<Mac>) -> bool {
        let is_anothers = |mac: Option<Mac>| mac.is_none() || by.is_some() && mac != by;
        let slot = self.pool.slot(address);
        slot.is_none_or(|slot| slot.state == State::Free && is_anothers(slot.mac))
            && is_anothers(self.pool.reserved_for(address))
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
        who: Who,
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

    fn inform(
        &mut self,
        packet: &Packet,
        who: Who,
        values: &BTreeMap<u8, Vec<u8>>,
        now: Instant,
    ) -> Result<(), Why> {
        self.watch.is_serving()?;
        let scope = Scope { table: &self.settings.table, relays: self.settings.relay.as_slice() };
        let reply = decide::inform(packet, &scope, &who, values)?;
        self.pace.allows(packet.message.mac, who.standing == Standing::Approved, now)?;
        self.send(reply);
        Ok(())
    }

    /// Whether, and as what, a client is served at all. `is_new`: it wants an address that it does not have.
    fn admit<'a>(
        &self,
        message: &Message,
        who: Who,
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
            Err(Why::NotAPhone | Why::Unwelcome) if all || !holds(Rule::PhonesOnly) => NOTHING,
            Err(why) => return Err(why),
        };
        let is_known = who.is_phone() && who.standing == Standing::Approved
            || self.pool.reservation(message.mac).is_some();
        Ok(Guest { is_known: is_known || self.has_lease(message.mac), values })
    }

    fn has_lease(&self, mac: Mac) -> bool {
        self.pool.of(mac).is_some_and(|(_, slot)| slot.state == State::Leased)
    }

    fn send(&mut self, reply: Reply) {
        let dry = self.settings.dry_run;
        self.commands.push_back(if dry { Command::WouldSend(reply) } else { Command::Send(reply) });
    }

    fn silence(&mut self, why: Why, mac: Mac) {
        self.commands.push_back(Command::Silence { why, mac });
    }
}

#[cfg(test)]
mod tests;
