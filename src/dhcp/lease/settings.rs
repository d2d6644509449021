//! One pool as it was configured.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use crate::device::Mac;
use crate::net::Prefix;
use crate::net::interfaces::Table;

/// The shortest lease: shorter ones would have every phone renew each minute, and one that is on the telephone lose
/// its address when the agent is updated.
pub const LEASE_MIN: Duration = Duration::from_mins(2);
/// The largest pool: a /12, the largest private network that anybody gives to phones. Memory grows with what is used.
pub const ADDRESSES_MAX: u32 = 1 << 20;

/// One pool and its network.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it is answered.
    pub interface: u32,
    /// Our address there: option 54, and where answers leave from.
    pub address: Ipv4Addr,
    /// All interfaces and addresses of this host.
    pub table: Arc<Table>,
    /// The pool's network: the interface's, or the one behind the relay.
    pub prefix: Prefix,
    /// The first address of the pool.
    pub first: Ipv4Addr,
    /// The last.
    pub last: Ipv4Addr,
    /// The relay (`giaddr`) whose clients the pool is for; `None`: those of the interface's own link.
    pub relay: Option<Ipv4Addr>,
    /// Option 3, only as configured.
    pub router: Option<Ipv4Addr>,
    /// Option 6, only as configured.
    pub dns: Vec<Ipv4Addr>,
    /// Option 15, only as configured.
    pub domain: Option<String>,
    /// Option 42, only as configured.
    pub ntp: Vec<Ipv4Addr>,
    /// How long a lease is at most.
    pub lease: Duration,
    /// Another server gives addresses of the same network from another pool, and comes first.
    pub shared: bool,
    /// Leases for hosts that are no phones, as long as no other server was ever seen.
    pub serve_all: bool,
    /// Everything is decided, and nothing sent.
    pub dry_run: bool,
    /// Answers to strangers in a second.
    pub answers_per_s: u32,
    /// Addresses of certain clients.
    pub reservations: BTreeMap<Mac, Ipv4Addr>,
    /// Whether another server was ever seen on this network.
    pub foreign_seen: bool,
    /// The shortest lease that another server was seen to give.
    pub foreign_lease: Option<Duration>,
}

/// Why a pool cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// First and last are exchanged.
    #[error("the pool {first}-{last} has no address; write the smaller one first")]
    Empty {
        /// As configured.
        first: Ipv4Addr,
        /// As configured.
        last: Ipv4Addr,
    },
    /// A /12 at most.
    #[error("the pool {first}-{last} has more than {ADDRESSES_MAX} addresses; make it smaller")]
    Large {
        /// As configured.
        first: Ipv4Addr,
        /// As configured.
        last: Ipv4Addr,
    },
    /// Clients could not use it there.
    #[error("{address} does not lie in the network {prefix}; choose an address of that network")]
    Outside {
        /// Which address of the configuration.
        address: Ipv4Addr,
        /// The interface's network, or the relay's.
        prefix: Prefix,
    },
    /// Shorter than any client should have.
    #[error("a lease of {} s is too short; write at least {} s", .0.as_secs(), LEASE_MIN.as_secs())]
    Lease(Duration),
    /// Both together would serve other hosts beside their own server.
    #[error("serve_all and shared exclude each other: where another server answers, only phones are served")]
    SharedWithAll,
    /// The same address for two clients, or one that no client may have.
    #[error("{address} cannot be reserved for {mac}: it is another client's, or not a client's at all")]
    Reservation {
        /// For whom.
        mac: Mac,
        /// Which address.
        address: Ipv4Addr,
    },
}

impl Settings {
    /// Whether the pool can be served.
    pub fn check(&self) -> Result<(), SettingsError> {
        let Self { first, last, prefix, .. } = *self;
        if first > last {
            return Err(SettingsError::Empty { first, last });
        }
        if u32::from(last) - u32::from(first) >= ADDRESSES_MAX {
            return Err(SettingsError::Large { first, last });
        }
        let ends = [first, last].into_iter().chain(self.router);
        if let Some(address) = ends.into_iter().find(|address| !prefix.contains(*address)) {
            return Err(SettingsError::Outside { address, prefix });
        }
        if self.lease < LEASE_MIN {
            return Err(SettingsError::Lease(self.lease));
        }
        if self.shared && self.serve_all {
            return Err(SettingsError::SharedWithAll);
        }
        self.check_reservations(&self.reservations)
    }

    /// Whether these addresses can be reserved.
    pub fn check_reservations(&self, reservations: &BTreeMap<Mac, Ipv4Addr>) -> Result<(), SettingsError> {
        let mut seen: BTreeSet<Ipv4Addr> = self.excluded().collect();
        for (mac, address) in reservations {
            if !self.prefix.contains(*address) {
                return Err(SettingsError::Outside { address: *address, prefix: self.prefix });
            }
            if !seen.insert(*address) {
                return Err(SettingsError::Reservation { mac: *mac, address: *address });
            }
        }
        Ok(())
    }

    /// Addresses of the network that no client may have: its own, everybody's, ours and the router's.
    pub(super) fn excluded(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        let network = self.prefix.first();
        let ends = (self.prefix.size() > 2).then(|| [network, self.prefix.last()]);
        let ours = self.table.interfaces().iter().flat_map(|interface| &interface.addresses);
        let named = [Some(self.address), self.router, self.relay].into_iter().flatten();
        let servers = self.dns.iter().chain(&self.ntp).copied();
        ends.into_iter().flatten().chain(ours.map(|(ours, _)| *ours)).chain(named).chain(servers)
    }

    /// The network's mask.
    pub(super) fn mask(&self) -> Ipv4Addr {
        Ipv4Addr::from(!(u32::from(self.prefix.last()) - u32::from(self.prefix.first())))
    }
}
