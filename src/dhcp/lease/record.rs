//! What is written down about leases, and what is left of them when it is read again.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::super::rule::Rule;
use crate::clock::{BootInstant, Timestamp};
use crate::device::Mac;
use crate::rule::holds;

/// An address rests for so long after its lease has ended before another client may have it. A client counts from the
/// last time that it sent its REQUEST, and we from the one that we received: between the two lies at most the longest
/// wait of RFC 2131, section 4.1.
pub const REST: Duration = Duration::from_secs(64);

/// A lease that is to be written down before its ACK leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Whose it is.
    pub mac: Mac,
    /// Option 61, as the client wrote it.
    pub client_id: Option<Vec<u8>>,
    /// Option 12.
    pub host_name: Option<String>,
    /// Option 60.
    pub vendor_class: Option<String>,
    /// For how long.
    pub duration: Duration,
}

/// What is to be written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This lease begins, anew or for the first time; whatever was written about the address before is over.
    Leased(Lease),
    /// The client gave its address back.
    Released {
        /// The address.
        address: Ipv4Addr,
        /// Whose it was.
        mac: Mac,
    },
    /// Somebody else uses the address.
    Quarantined {
        /// The address.
        address: Ipv4Addr,
        /// Who answered for it, where that is known.
        by: Option<Mac>,
        /// For how long nobody gets it.
        duration: Duration,
    },
}

impl Change {
    /// Which address it is about.
    pub fn address(&self) -> Ipv4Addr {
        match self {
            Self::Leased(lease) => lease.address,
            Self::Released { address, .. } | Self::Quarantined { address, .. } => *address,
        }
    }
}

/// What was written down about an address last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The address.
    pub address: Ipv4Addr,
    /// Whose it is or was; `None` in quarantine.
    pub mac: Option<Mac>,
    /// What it was.
    pub kept: Kept,
    /// When it was written, by the wall clock.
    pub at: Timestamp,
    /// When it was written, by the boot clock.
    pub at_boot: BootInstant,
    /// For how long.
    pub duration: Duration,
}

/// What an address was kept as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// A lease.
    Leased,
    /// Given back.
    Released,
    /// In use by somebody who did not get it from here.
    Quarantined,
}

/// A moment by every clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock.
    pub wall: Timestamp,
    /// The boot clock.
    pub boot: BootInstant,
}

impl Record {
    /// What is left of it. On the boot that wrote it, its boot clock tells, which nobody can set. On another boot there
    /// is only the wall clock, which may have been set: what it says is believed as far as it is possible at all.
    pub fn left(&self, now: &Moment) -> Duration {
        if self.kept == Kept::Released {
            return Duration::ZERO;
        }
        self.duration.saturating_sub(self.age(now))
    }

    /// How long ago it was written; never less than nothing.
    pub fn age(&self, now: &Moment) -> Duration {
        let ms = if self.at_boot.boot == now.boot.boot && holds(Rule::BootClock) {
            now.boot.ms.saturating_sub(self.at_boot.ms)
        } else {
            now.wall.0.saturating_sub(self.at.0)
        };
        Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }
}
