//! DHCP: the companion of whatever server a LAN has. It hears, and answers only where an administrator says so.
//!
//! **dhcproto** reads and writes the fixed part of a message; between it and the network stands [`message`], because on
//! the wire (0.15) its owned decoder stops without an error at the first option that it does not like (two addresses in
//! option 150, a host name that is not UTF-8) and loses that and every later option; parts of an option that do not
//! follow each other overwrite; options in `sname` and `file` (option 52) are not read; a hardware address longer than 16
//! octets panics; an option longer than 255 octets that it has no name for is written with a wrong length.

pub mod ask;
pub mod decide;
pub mod hear;
pub mod lease;
pub mod message;
pub mod pace;
pub mod pool;
pub mod probe;
pub mod reply;
pub mod report;
pub mod server;
pub mod servers;
pub mod silence;
pub mod tell;

#[cfg(test)]
mod fixture;
mod rule;

use std::net::SocketAddrV4;

use crate::device::Mac;
use message::Message;

/// A message as it came by an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// By which interface.
    pub interface: u32,
    /// The hardware address of whoever put it on this link: the host itself, or a router.
    pub sender: Option<Mac>,
    /// Whether this very host sent it: a DHCP server or client beside us.
    pub is_own_hosts: bool,
    /// From which address and port.
    pub from: SocketAddrV4,
    /// To which address and port.
    pub to: SocketAddrV4,
    /// What it says.
    pub message: Message,
}
