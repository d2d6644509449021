//! Who is behind an address on a link: the kernel's neighbour table (ARP, and ND for IPv6), asked for one entry at a
//! time, and made to resolve an address that it does not know yet.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::sys::socket::{
    AddressFamily as Family, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

use super::udp::{UdpEndpoint, Via};
use crate::device::Mac;

/// How long a cold entry may take; a phone on the same link answers ARP within milliseconds.
const RESOLVE_MS_MAX: u64 = 300;
/// How often the table is read while it resolves.
const RESOLVE_STEP_MS: u64 = 10;
/// Where the datagram goes that makes the kernel resolve an address: discard (RFC 863).
const DISCARD_PORT: u16 = 9;
/// An answer of the kernel: one entry with its timers, or an error; some 100 bytes.
const ANSWER_BYTES_MAX: usize = 4096;

/// The neighbour table.
#[derive(Clone)]
pub struct Neighbours(Arc<Table>);

enum Table {
    Kernel { netlink: Mutex<Netlink>, prompt: Option<UdpEndpoint> },
    Declared(HashMap<IpAddr, Mac>),
}

impl Neighbours {
    /// The kernel's own table. Unless it may resolve, it only tells what the kernel knows already, and sends nothing.
    pub fn kernel(may_resolve: bool) -> io::Result<Self> {
        let netlink = Mutex::new(Netlink::open()?);
        let any = SocketAddr::from(([0, 0, 0, 0], 0));
        let prompt = if may_resolve { Some(UdpEndpoint::bind(any)?) } else { None };
        Ok(Self(Arc::new(Table::Kernel { netlink, prompt })))
    }

    /// A table that somebody wrote by hand. It proves nothing, so only the demonstration on loopback and tests use it.
    pub fn declared(entries: HashMap<IpAddr, Mac>) -> Self {
        Self(Arc::new(Table::Declared(entries)))
    }

    /// The hardware address behind `address` on this interface; `None` when nobody answers there.
    pub async fn mac_of(&self, address: IpAddr, interface: u32) -> Option<Mac> {
        let (netlink, prompt) = match &*self.0 {
            Table::Declared(entries) => return entries.get(&address).copied(),
            Table::Kernel { netlink, prompt } => (netlink, prompt),
        };
        let entry = || netlink.lock().unwrap_or_else(PoisonError::into_inner).entry(address, interface);
        if let Some(mac) = entry() {
            return Some(mac);
        }
        let prompt = prompt.as_ref()?;
        let via = Via { interface, source: None };
        if address.is_ipv4()
            && let Err(error) = prompt.send(&[], SocketAddr::new(address, DISCARD_PORT), Some(via)).await
        {
            tracing::debug!("Cannot make the kernel resolve {address}: {error}");
        }
        for _ in 0..RESOLVE_MS_MAX / RESOLVE_STEP_MS {
            tokio::time::sleep(Duration::from_millis(RESOLVE_STEP_MS)).await;
            if let Some(mac) = entry() {
                return Some(mac);
            }
        }
        None
    }
}

/// A netlink socket for questions about single entries. The kernel puts its answer into the socket while it takes the
/// question, so asking is two system calls and never waits; a phone's file is worth that at every request.
struct Netlink {
    socket: OwnedFd,
    asked: u32,
}

impl Netlink {
    fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(Family::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        Ok(Self { socket, asked: 0 })
    }

    /// One entry of the kernel's table, if it holds a hardware address that is in use.
    fn entry(&mut self, address: IpAddr, interface: u32) -> Option<Mac> {
        self.asked = self.asked.wrapping_add(1);
        let mut request =
            NetlinkMessage::from(RouteNetlinkMessage::GetNeighbour(question(address, interface)));
        request.header.flags = NLM_F_REQUEST;
        request.header.sequence_number = self.asked;
        request.finalize();
        let mut buffer = [0; ANSWER_BYTES_MAX];
        let bytes = buffer.get_mut(..request.buffer_len())?;
        request.serialize(bytes);
        send(self.socket.as_raw_fd(), bytes, MsgFlags::empty()).ok()?;
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).ok()?;
            let answer = NetlinkMessage::deserialize(buffer.get(..length)?).ok()?;
            if answer.header.sequence_number == self.asked {
                return match answer.payload {
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(found)) => {
                        hardware_address(&found)
                    }
                    _ => None,
                };
            }
        }
    }
}

fn question(address: IpAddr, interface: u32) -> NeighbourMessage {
    let mut question = NeighbourMessage::default();
    question.header.ifindex = interface;
    let destination = match address {
        IpAddr::V4(address) => {
            question.header.family = AddressFamily::Inet;
            NeighbourAddress::Inet(address)
        }
        IpAddr::V6(address) => {
            question.header.family = AddressFamily::Inet6;
            NeighbourAddress::Inet6(address)
        }
    };
    question.attributes.push(NeighbourAttribute::Destination(destination));
    question
}

fn hardware_address(found: &NeighbourMessage) -> Option<Mac> {
    let in_use = matches!(
        found.header.state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
    );
    found.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(octets) if in_use => {
            <[u8; 6]>::try_from(octets.as_slice()).ok().and_then(Mac::new)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_entry_proves_nothing() {
        let mut found = NeighbourMessage::default();
        found.attributes.push(NeighbourAttribute::LinkLayerAddress(vec![0, 0x15, 0x65, 1, 2, 3]));
        found.header.state = NeighbourState::Failed;
        assert_eq!(hardware_address(&found), None);
        found.header.state = NeighbourState::Stale;
        assert_eq!(hardware_address(&found).unwrap().bare(), "001565010203");
    }

    #[tokio::test]
    async fn who_is_not_in_the_kernels_table_has_no_address() {
        let table = Neighbours::kernel(false).unwrap();
        for _ in 0..3 {
            assert_eq!(table.mac_of(IpAddr::from([127, 0, 0, 2]), 1).await, None);
        }
    }

    #[tokio::test]
    async fn a_declared_table_answers_what_it_was_told() {
        let mac: Mac = "00:15:65:01:02:03".parse().unwrap();
        let table = Neighbours::declared(HashMap::from([(IpAddr::from([127, 0, 0, 2]), mac)]));
        assert_eq!(table.mac_of(IpAddr::from([127, 0, 0, 2]), 1).await, Some(mac));
        assert_eq!(table.mac_of(IpAddr::from([127, 0, 0, 3]), 1).await, None);
    }
}
