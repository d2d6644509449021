//! An answer and the way that it takes (RFC 2131, section 4.1). Never sends.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::message::{Draft, Written};
use crate::device::Mac;
use crate::net::wire::Receiver;

/// Where servers and relays listen.
pub const SERVER_PORT: u16 = 67;
/// Where clients listen.
pub const CLIENT_PORT: u16 = 68;

/// An answer that shall leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// By which interface.
    pub interface: u32,
    /// From which address of ours.
    pub from: Ipv4Addr,
    /// To whom.
    pub to: Destination,
    /// What it says.
    pub draft: Draft,
    /// Octets of payload that the client takes.
    pub size_max: usize,
    /// What it answers.
    pub because: Because,
}

/// To whom an answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// A client.
    Client {
        /// The host on this link that it is sent to: the client, or the router before it.
        mac: Mac,
        /// The client's address, which it may not have yet.
        address: Ipv4Addr,
    },
    /// Everybody on the link, because the client cannot be reached otherwise.
    Broadcast,
    /// The relay that the question came through.
    Relay {
        /// Its address (`giaddr`).
        address: Ipv4Addr,
        /// The host on this link that brought its question.
        via: Option<Mac>,
    },
}

/// What an answer answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Because {
    /// INFORM.
    Inform,
    /// DISCOVER.
    Discover,
    /// REQUEST for what we offered.
    Selecting,
    /// REQUEST of a client that starts with the address it had.
    InitReboot,
    /// REQUEST to us to go on with a lease.
    Renewing,
    /// REQUEST to everybody to go on with a lease.
    Rebinding,
    /// Another agent's search for servers.
    Search,
}

impl Because {
    /// The RFC's name, lower-case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inform => "inform",
            Self::Discover => "discover",
            Self::Selecting => "selecting",
            Self::InitReboot => "init-reboot",
            Self::Renewing => "renewing",
            Self::Rebinding => "rebinding",
            Self::Search => "search",
        }
    }
}

impl Reply {
    /// Its octets.
    pub fn write(&self) -> Written {
        self.draft.write(self.size_max)
    }

    /// From which address and port it leaves.
    pub fn source(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.from, SERVER_PORT)
    }

    /// To which host of the link, and to which address and port.
    pub fn target(&self) -> (Receiver, SocketAddrV4) {
        match self.to {
            Destination::Client { mac, address } => {
                (Receiver::Host(mac), SocketAddrV4::new(address, CLIENT_PORT))
            }
            Destination::Broadcast => {
                (Receiver::Everybody, SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT))
            }
            Destination::Relay { address, via } => {
                (via.map_or(Receiver::Everybody, Receiver::Host), SocketAddrV4::new(address, SERVER_PORT))
            }
        }
    }
}
