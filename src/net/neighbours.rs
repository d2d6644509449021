//! Who is behind an address on a link, and how sure that is.
//!
//! The kernel's neighbour table (ARP, and ND for IPv6) says which MAC it would send to. For a SUBSCRIBE that is enough
//! ([`Neighbours::check`]). Before a password leaves, [`Neighbours::prove`] asks the link itself, hears every answer,
//! asks the phone's former addresses whether somebody else has its MAC there, and pins the entry, so that the bytes
//! go to the host that was proved and to nobody who speaks up afterwards.
//!
//! What this can prove ends where the link does: a router, a proxy that answers for others, a container bridge, or
//! whoever has the phone's MAC while the phone is silent. IPv6 peers are resolved by the kernel alone.

mod arp;
mod bridge;
mod budget;
mod kernel;
mod netlink;
mod pins;
mod watcher;
mod whereabouts;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use self::arp::Watch;
use self::kernel::Kernel;
use self::pins::Hold;
use super::interfaces::Interfaces;
use crate::clock::Clock;
use crate::device::Mac;

/// How long the pins of an agent that died are kept: until TCP has given up what the dead process left to it.
pub const INHERITED_PINS_KEPT: Duration = Duration::from_mins(2);

/// What the neighbours are asked with.
#[derive(Debug, Clone)]
pub struct NeighbourOptions {
    /// Our own addresses, and on which interfaces.
    pub interfaces: Interfaces,
    /// The time.
    pub clock: Clock,
    /// Whether anything may be sent; if not, only what the kernel knows already is told.
    pub may_send: bool,
    /// The list of pinned entries, for whoever starts after this process has died; `None`: nothing is pinned, as by a
    /// command beside the agent.
    pub pin_list: Option<PathBuf>,
    /// How long the pins in that list are kept; usually [`INHERITED_PINS_KEPT`].
    pub inherited_kept: Duration,
}

/// An address on the link of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Place {
    address: IpAddr,
    interface: u32,
}

/// The neighbours of this host.
#[derive(Clone)]
pub struct Neighbours(Arc<Table>);

enum Table {
    Kernel(Box<Kernel>),
    Declared(HashMap<IpAddr, Mac>),
}

/// What this process is allowed to find out, and to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// Entries can be pinned (`CAP_NET_ADMIN`).
    pub pin: bool,
    /// ARP can be spoken and heard (`CAP_NET_RAW`).
    pub raw_arp: bool,
}

/// Whether an interface's neighbours can be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// Hosts have MACs of their own.
    Usable,
    /// Whatever is asked for, this MAC answers: a container bridge, or a proxy for everybody.
    Indistinct {
        /// Who answers.
        behind: Mac,
    },
}

/// What can be said about a peer that claims a MAC, without any proof that would do for a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// The neighbour table says the same.
    Same,
    /// Another host is there.
    Other(Mac),
    /// More than one host claims the address.
    Contested(CloneSign),
    /// Nobody answers there.
    Silent,
    /// It cannot be said on this interface, where all neighbours look alike.
    Indistinct,
    /// Too many questions wait already.
    Unable,
}

/// The outcome of [`Neighbours::probe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupied {
    /// Somebody has the address.
    By(Mac),
    /// Nobody says that he has it.
    ByNobody,
    /// It could not be found out: no right to ask (`CAP_NET_RAW`), no such interface, or too many questions.
    Unable,
}

/// The outcome of [`Neighbours::prove`].
#[derive(Debug)]
pub enum Proved {
    /// This host is there, as far as can be known; it stays so while the value is held.
    Yes(Held),
    /// Another host is there.
    Other(Mac),
    /// Nobody answers there.
    Silent,
    /// Somebody pretends to be somebody else.
    Clone(CloneSign),
    /// On this interface nothing is proved: all neighbours look alike.
    Indistinct,
    /// It could not be found out now: too many questions or pins, or the kernel refuses one. Worth asking again.
    Unable,
}

/// What holds as long as this value lives.
#[derive(Debug, Default)]
pub struct Held {
    /// Whether the kernel sends to the proved MAC and to no other. `false` without `CAP_NET_ADMIN`.
    pub pinned: bool,
    /// The pin and the ear on the address; `None` where nothing was proved by the network (a declared table).
    pub pin: Option<Pin>,
    /// Where the MAC was before, when it has moved within the last hour.
    pub moved_from: Option<IpAddr>,
}

/// Keeps an address pinned, and hears who else claims it, until it is dropped.
#[derive(Debug)]
pub struct Pin {
    mac: Mac,
    watch: Option<Watch>,
    _hold: Option<Hold>,
}

/// Why a host is not believed to be alone in what it claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloneSign {
    /// Another MAC answers for the same address.
    TwoAnswer {
        /// Which.
        other: Mac,
    },
    /// A frame that names the address's owner was sent by another host.
    Forged {
        /// Which.
        by: Mac,
    },
    /// The same MAC still answers at the address that it had before.
    Elsewhere {
        /// Where.
        address: IpAddr,
    },
    /// The kernel would send to another MAC than the one that answers.
    Table {
        /// Which.
        other: Mac,
    },
}

impl Neighbours {
    /// The kernel's own table. Must be called inside the runtime.
    pub fn kernel(options: NeighbourOptions) -> io::Result<Self> {
        Ok(Self(Arc::new(Table::Kernel(Box::new(Kernel::open(options)?)))))
    }

    /// A table that somebody wrote by hand. It proves nothing, so only the demonstration on loopback and tests use it.
    pub fn declared(entries: HashMap<IpAddr, Mac>) -> Self {
        Self(Arc::new(Table::Declared(entries)))
    }

    /// The hardware address behind `address` on this interface; `None` when nobody answers there.
    pub async fn mac_of(&self, address: IpAddr, interface: u32) -> Option<Mac> {
        match &*self.0 {
            Table::Declared(entries) => entries.get(&address).copied(),
            Table::Kernel(kernel) => kernel.mac_of(Place { address, interface }).await,
        }
    }

    /// Whether `peer` may be the host of this MAC, as far as it is known without waiting; `None` when it has to be
    /// asked ([`Neighbours::check`]).
    pub fn glance(&self, peer: IpAddr, interface: u32, mac: Mac) -> Option<Behind> {
        match &*self.0 {
            Table::Declared(entries) => Some(match entries.get(&peer) {
                Some(entry) if *entry == mac => Behind::Same,
                Some(entry) => Behind::Other(*entry),
                None => Behind::Silent,
            }),
            Table::Kernel(kernel) => kernel.glance(Place { address: peer, interface }, mac),
        }
    }

    /// Whether `peer` is the host of this MAC. An entry that says otherwise may be an old one, so the link is asked
    /// before anybody is called an impostor.
    pub async fn check(&self, peer: IpAddr, interface: u32, mac: Mac) -> Behind {
        match (self.glance(peer, interface, mac), &*self.0) {
            (Some(behind), _) => behind,
            (None, Table::Kernel(kernel)) => kernel.check(Place { address: peer, interface }, mac).await,
            (None, Table::Declared(_)) => Behind::Silent,
        }
    }

    /// Whether `peer` is the host of this MAC, for a release of passwords.
    ///
    /// 1. The interface must tell its neighbours apart.
    /// 2. An entry that an administrator made permanent is the truth. Otherwise the link is asked: exactly one MAC must
    ///    answer, it must be this one, and the kernel's table must agree (`CAP_NET_RAW`; without, the kernel resolves).
    /// 3. No address that this MAC had in the last hour may answer with it any more.
    /// 4. The entry is pinned, and read again (`CAP_NET_ADMIN`; without, it says that nothing is pinned).
    pub async fn prove(&self, peer: IpAddr, interface: u32, mac: Mac) -> Proved {
        match &*self.0 {
            Table::Declared(entries) => match entries.get(&peer) {
                Some(entry) if *entry == mac => Proved::Yes(Held::default()),
                Some(entry) => Proved::Other(*entry),
                None => Proved::Silent,
            },
            Table::Kernel(kernel) => kernel.prove(Place { address: peer, interface }, mac).await,
        }
    }

    /// Whether anybody on this link has the address already, for who wants to give it away: half a second of questions
    /// as somebody without an address (RFC 5227), or until the first who says that he has it.
    pub async fn probe(&self, address: Ipv4Addr, interface: u32) -> Occupied {
        match &*self.0 {
            Table::Declared(entries) => {
                entries.get(&IpAddr::V4(address)).copied().map_or(Occupied::ByNobody, Occupied::By)
            }
            Table::Kernel(kernel) => kernel.probe(address, interface).await,
        }
    }

    /// Whether the neighbours of this interface can be told apart.
    pub fn evidence(&self, interface: u32) -> Evidence {
        match &*self.0 {
            Table::Declared(_) => Evidence::Usable,
            Table::Kernel(kernel) => kernel.evidence(interface),
        }
    }

    /// What this process may do; `None` for a declared table, which needs nothing.
    pub fn abilities(&self) -> Option<Abilities> {
        match &*self.0 {
            Table::Declared(_) => None,
            Table::Kernel(kernel) => Some(kernel.abilities()),
        }
    }

    /// Waits until every pin that nobody holds any more is gone from the kernel's table.
    pub async fn settle(&self) {
        if let Table::Kernel(kernel) = &*self.0 {
            kernel.settle().await;
        }
    }
}

impl Pin {
    /// Whether somebody else has claimed the address since.
    pub fn contested(&self) -> Option<CloneSign> {
        self.watch.as_ref()?.heard().contradiction(self.mac)
    }

    /// Waits until somebody else claims the address; for ever where ARP cannot be heard.
    pub async fn contest(&self) -> CloneSign {
        match &self.watch {
            Some(watch) => watch.contested(self.mac).await,
            None => std::future::pending().await,
        }
    }
}

impl fmt::Display for CloneSign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TwoAnswer { other } => write!(f, "{other} claims the same address"),
            Self::Forged { by } => write!(f, "{by} answers in its name"),
            Self::Elsewhere { address } => write!(f, "its MAC answers at {address} as well"),
            Self::Table { other } => write!(f, "the kernel's neighbour table says {other}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::interfaces::Table as Interfaces_;

    #[tokio::test]
    async fn who_is_not_in_the_kernels_table_has_no_address() {
        let folder = tempfile::tempdir().unwrap();
        let table = Neighbours::kernel(NeighbourOptions {
            interfaces: Interfaces::fixed(Interfaces_::default()),
            clock: Clock::System,
            may_send: false,
            pin_list: Some(folder.path().join("pins")),
            inherited_kept: INHERITED_PINS_KEPT,
        })
        .unwrap();
        let nobody = IpAddr::from([127, 0, 0, 2]);
        let mac: Mac = "00:15:65:01:02:03".parse().unwrap();
        for _ in 0..3 {
            assert_eq!(table.mac_of(nobody, 1).await, None);
        }
        assert_eq!(table.check(nobody, 1, mac).await, Behind::Silent);
        assert!(matches!(table.prove(nobody, 1, mac).await, Proved::Silent));
        assert_eq!(table.abilities(), Some(Abilities { pin: false, raw_arp: false }));
        table.settle().await;
    }

    #[tokio::test]
    async fn a_declared_table_answers_what_it_was_told() {
        let (mac, other): (Mac, Mac) =
            ("00:15:65:01:02:03".parse().unwrap(), "00:15:65:01:02:04".parse().unwrap());
        let (phone, nobody) = (IpAddr::from([127, 0, 0, 2]), IpAddr::from([127, 0, 0, 3]));
        let table = Neighbours::declared(HashMap::from([(phone, mac)]));
        assert_eq!(table.mac_of(phone, 1).await, Some(mac));
        assert_eq!(table.mac_of(nobody, 1).await, None);
        assert_eq!(table.glance(phone, 1, mac), Some(Behind::Same));
        assert_eq!(table.check(phone, 1, other).await, Behind::Other(mac));
        assert_eq!(table.check(nobody, 1, mac).await, Behind::Silent);
        let Proved::Yes(held) = table.prove(phone, 1, mac).await else { panic!("it was declared") };
        assert!(!held.pinned && held.pin.is_none() && held.moved_from.is_none());
        assert!(matches!(table.prove(phone, 1, other).await, Proved::Other(there) if there == mac));
        assert!(matches!(table.prove(nobody, 1, mac).await, Proved::Silent));
        assert_eq!(table.evidence(1), Evidence::Usable);
    }
}
