//! Whether a pool is served: who else answers, what is wrong, and what that means.

use std::collections::VecDeque;
use std::fmt;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::super::Packet;
use super::super::decide;
use super::super::message::{Kind, Message, code};
use super::super::pool::State;
use super::super::rule::Rule;
use super::super::silence::Why;
use super::{Command, Server};
use crate::device::Mac;
use crate::rule::holds;

/// So long another server must have been silent before a person may switch on again.
pub const SILENCE_BEFORE_RETURN: Duration = Duration::from_mins(15);
/// So many signs of harm in [`HARM_WINDOW`] switch a pool off: by then it is not the network it was configured for.
const HARM_MAX: usize = 3;
const HARM_WINDOW: Duration = Duration::from_mins(1);
/// Alarms that are remembered so that each is raised once in [`HARM_WINDOW`].
const ALARMS_MAX: usize = 64;

/// Whether a pool is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// It is.
    Serving,
    /// Another server answers: leases are renewed, nobody else is answered.
    Yielding {
        /// Which.
        server: Ipv4Addr,
    },
    /// Nothing is sent. After a start nothing is known about other servers; look for them before switching on.
    Off {
        /// Because of too many alarms, not by a person.
        automatic: bool,
    },
}

/// What an administrator should look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// Another server answers.
    Foreign {
        /// Which.
        server: Ipv4Addr,
    },
    /// An address of the pool is in use by a host that did not get it from here.
    Conflict {
        /// Which address.
        address: Ipv4Addr,
        /// By whom.
        by: Mac,
    },
    /// A client found its new address in use.
    Declined {
        /// Which address.
        address: Ipv4Addr,
        /// Which client.
        mac: Mac,
    },
    /// Strangers took most of the pool.
    Starvation,
    /// The pool is used up.
    Full,
    /// Clients ask again and again as if nobody had answered them.
    Unseen {
        /// The last of them.
        mac: Mac,
    },
    /// The pool switched itself off.
    TooMany,
}

impl Alarm {
    /// Whether the network may suffer from what we do. A pool that runs low harms nobody else.
    fn is_harm(&self) -> bool {
        match self {
            Self::Foreign { .. } | Self::Conflict { .. } | Self::Declined { .. } | Self::Unseen { .. } => {
                true
            }
            Self::Starvation | Self::Full | Self::TooMany => false,
        }
    }

    /// Whether it is about the same host as another: one phone that declines everything is one sign, not many.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Conflict { by, .. }, Self::Conflict { by: other, .. }) => by == other,
            (Self::Declined { mac, .. }, Self::Declined { mac: other, .. }) => mac == other,
            // Three clients in a row are one sign, whoever is the last.
            (Self::Unseen { .. }, Self::Unseen { .. }) => false,
            _ => self == other,
        }
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign { server } => {
                write!(f, "the DHCP server {server} answers here too; new clients are left to it")
            }
            Self::Conflict { address, by } => {
                write!(f, "{by} uses {address} of the pool without a lease; the address rests for an hour")
            }
            Self::Declined { address, mac } => {
                write!(f, "{mac} found {address} in use by another host; the address rests for an hour")
            }
            Self::Starvation => {
                f.write_str("most of the pool is taken; the rest is for phones of the inventory")
            }
            Self::Full => f.write_str("no address is left in the pool"),
            Self::Unseen { .. } => f.write_str(
                "clients go on asking as if nobody had answered them: a switch that guards DHCP may drop answers of \
                 this host's port",
            ),
            Self::TooMany => {
                f.write_str("three alarms in a minute: DHCP is switched off there and nothing is sent any more")
            }
        }
    }
}

/// Who else answers and what is wrong, over time.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) stand: Stand,
    /// When another server was heard last.
    heard: Option<(Instant, Ipv4Addr)>,
    harm: Harm,
}

/// The alarms of the last minute: each is raised once in it, and three signs of harm are too many.
#[derive(Debug, Default)]
pub struct Harm(VecDeque<(Instant, Alarm)>);

impl Harm {
    /// Whether the alarm is to be raised, and whether it is one too many.
    pub fn raise(&mut self, alarm: Alarm, now: Instant) -> Raised {
        self.0.retain(|(at, _)| now.saturating_duration_since(*at) < HARM_WINDOW);
        if self.0.len() >= ALARMS_MAX || self.0.iter().any(|(_, other)| alarm.is_same(other)) {
            return Raised::Again;
        }
        self.0.push_back((now, alarm));
        let harm = self.0.iter().filter(|(_, alarm)| alarm.is_harm()).count();
        if alarm.is_harm() && harm >= HARM_MAX { Raised::TooMany } else { Raised::New }
    }
}

impl Watch {
    /// After a start, the silence of a server that was there before counts from now.
    pub(super) fn new(stand: Stand, now: Instant) -> Self {
        let heard = match stand {
            Stand::Yielding { server } => Some((now, server)),
            Stand::Serving | Stand::Off { .. } => None,
        };
        Self { stand, heard, harm: Harm::default() }
    }

    /// Whether new clients are answered.
    pub(super) fn is_serving(&self) -> Result<(), Why> {
        match self.stand {
            Stand::Serving => Ok(()),
            Stand::Yielding { .. } => Err(Why::Yielding),
            Stand::Off { .. } => Err(Why::Off),
        }
    }

    /// Whether leases are renewed.
    pub(super) fn is_renewing(&self) -> Result<(), Why> {
        match self.stand {
            Stand::Serving | Stand::Yielding { .. } => Ok(()),
            Stand::Off { .. } => Err(Why::Off),
        }
    }

    /// Another server was heard. Whether that changes anything.
    pub(super) fn yields_to(&mut self, server: Ipv4Addr, now: Instant) -> bool {
        self.heard = Some((now, server));
        let is_new = self.stand == Stand::Serving;
        if is_new {
            self.stand = Stand::Yielding { server };
        }
        is_new
    }

    pub(super) fn off(&mut self, automatic: bool) {
        self.stand = Stand::Off { automatic };
    }

    /// A person switches on. Not beside another server that was heard lately.
    pub(super) fn on(&mut self, now: Instant) {
        let recent = self.heard.filter(|(at, _)| now.saturating_duration_since(*at) < SILENCE_BEFORE_RETURN);
        self.stand = match recent {
            Some((_, server)) => Stand::Yielding { server },
            None => Stand::Serving,
        };
        self.harm = Harm::default();
    }

    /// As [`Harm::raise`]; what is off cannot be switched off.
    pub(super) fn raise(&mut self, alarm: Alarm, now: Instant) -> Raised {
        match self.harm.raise(alarm, now) {
            Raised::TooMany if matches!(self.stand, Stand::Off { .. }) => Raised::New,
            raised => raised,
        }
    }
}

impl Server {
    /// Somebody answers a client of this network.
    pub(super) fn overhear(&mut self, packet: &Packet, now: Instant) {
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
    pub(super) fn foreign(&mut self, server: Ipv4Addr, now: Instant) {
        self.settings.foreign_seen = true;
        if self.settings.shared || self.settings.dry_run || !holds(Rule::Yield) {
            return;
        }
        if self.watch.yields_to(server, now) {
            self.take_back_offers();
            self.commands.push_back(Command::Stand(self.watch.stand));
            self.raise(Alarm::Foreign { server }, now);
        }
    }

    /// Of two agents that want to serve one network, the one that serves already goes on; of two that are still looking
    /// for others, the one with the smaller address. It answers, as any server would; the other one yields to it, whether
    /// it hears that answer or only the question.
    pub(super) fn rival(
        &mut self,
        packet: &Packet,
        other: Ipv4Addr,
        searching: Option<Ipv4Addr>,
        now: Instant,
    ) -> Result<(), Why> {
        decide::is_question(packet)?;
        if !self.fits(packet) {
            return Err(Why::NoPool);
        }
        match searching.filter(|_| !self.settings.shared) {
            Some(ours) if other <= ours => {
                self.foreign(other, now);
                return Ok(());
            }
            Some(_) => {}
            None => self.watch.is_serving()?,
        }
        self.pace.allows(packet.message.mac, false, now)?;
        self.send(self.presence(packet));
        Ok(())
    }

    pub(super) fn stop(&mut self, automatic: bool) {
        self.watch.off(automatic);
        self.take_back_offers();
        self.commands.push_back(Command::Stand(self.watch.stand));
    }

    pub(super) fn take_back_offers(&mut self) {
        self.probing.clear();
        let is_offer = |state| matches!(state, State::Probing | State::Offered);
        let offers = self.pool.slots().filter(|(_, slot)| is_offer(slot.state));
        let offers: Vec<Ipv4Addr> = offers.map(|(address, _)| address).collect();
        for address in offers {
            self.pool.free(address);
        }
    }

    pub(super) fn raise(&mut self, alarm: Alarm, now: Instant) {
        match self.watch.raise(alarm, now) {
            Raised::Again => {}
            Raised::New => self.commands.push_back(Command::Alarm(alarm)),
            Raised::TooMany => {
                self.commands.extend([Command::Alarm(alarm), Command::Alarm(Alarm::TooMany)]);
                self.stop(true);
            }
        }
    }
}

/// What an alarm is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raised {
    /// The same as within the last minute.
    Again,
    /// To be raised.
    New,
    /// To be raised, and the pool to be switched off.
    TooMany,
}
