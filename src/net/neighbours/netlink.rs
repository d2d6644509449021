//! The kernel's neighbour table over a netlink socket: one entry asked for, one entry set, or all of them.
//!
//! The kernel puts its answer into the socket while it takes the question, so a question is two system calls and never
//! waits for a packet. Setting an entry takes the kernel's lock over all network settings, which may.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily as Family, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

use super::Place;
use crate::device::Mac;

/// One question: a header, an entry, an address, a hardware address; some 60 bytes.
const QUESTION_BYTES_MAX: usize = 256;
/// The kernel fills at most so much with the entries of a whole table before it wants to be read again.
const ANSWER_BYTES_MAX: usize = 32 * 1024;

/// What the kernel holds about one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) mac: Mac,
    /// Nobody but who set it may change it: ARP does not.
    pub(super) is_permanent: bool,
}

/// A netlink socket.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    asked: u32,
    answer: Vec<u8>,
}

type Message = NetlinkMessage<RouteNetlinkMessage>;

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(Family::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        Ok(Self { socket, asked: 0, answer: vec![0; ANSWER_BYTES_MAX] })
    }

    /// One entry of the kernel's table, if it holds a hardware address that is in use.
    pub(super) fn entry(&mut self, place: Place) -> Option<Entry> {
        let question = RouteNetlinkMessage::GetNeighbour(place_message(place));
        self.send(question, NLM_F_REQUEST).ok()?;
        loop {
            let answer = self.messages().ok()?.into_iter().find(|answer| self.is_answer(answer));
            if let Some(answer) = answer {
                return match answer.payload {
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(found)) => entry(&found),
                    _ => None,
                };
            }
        }
    }

    /// Makes the table say that `mac` is at this place, whatever it said before: for good, so that nothing that is
    /// heard on the link changes it, or until the kernel hears otherwise.
    pub(super) fn set(&mut self, place: Place, mac: Mac, is_permanent: bool) -> io::Result<()> {
        let mut message = place_message(place);
        message.header.state = if is_permanent { NeighbourState::Permanent } else { NeighbourState::Stale };
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec()));
        self.change(message)
    }

    /// Whether this process may set entries (`CAP_NET_ADMIN` over this network): asked with an entry of no address,
    /// which the kernel refuses for the one reason or the other.
    pub(super) fn may_set(&mut self) -> bool {
        let nothing = NeighbourMessage::default();
        matches!(self.change(nothing), Err(error) if error.raw_os_error() != Some(Errno::EPERM as i32))
    }

    /// Every entry with a hardware address that is in use.
    pub(super) fn table(&mut self) -> io::Result<Vec<(Place, Mac)>> {
        let question = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        self.send(question, NLM_F_REQUEST | NLM_F_DUMP)?;
        let mut table = Vec::new();
        loop {
            for answer in self.messages()?.into_iter().filter(|answer| self.is_answer(answer)) {
                match answer.payload {
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(found)) => {
                        table.extend(place_of(&found).zip(entry(&found).map(|entry| entry.mac)));
                    }
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::Done(_) => return Ok(table),
                    _ => {}
                }
            }
        }
    }

    fn change(&mut self, message: NeighbourMessage) -> io::Result<()> {
        let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        self.send(RouteNetlinkMessage::NewNeighbour(message), flags)?;
        loop {
            for answer in self.messages()?.into_iter().filter(|answer| self.is_answer(answer)) {
                if let NetlinkPayload::Error(error) = answer.payload {
                    return if error.code.is_none() { Ok(()) } else { Err(error.to_io()) };
                }
            }
        }
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.asked = self.asked.wrapping_add(1);
        let mut request = Message::from(message);
        request.header.flags = flags;
        request.header.sequence_number = self.asked;
        request.finalize();
        let mut buffer = [0; QUESTION_BYTES_MAX];
        let bytes = buffer.get_mut(..request.buffer_len()).ok_or(io::ErrorKind::InvalidInput)?;
        request.serialize(bytes);
        send(self.socket.as_raw_fd(), bytes, MsgFlags::empty())?;
        Ok(())
    }

    /// The messages of one reading; an error, when there is nothing to read: then the answer is not coming.
    fn messages(&mut self) -> io::Result<Vec<Message>> {
        let length = recv(self.socket.as_raw_fd(), &mut self.answer, MsgFlags::empty())?;
        let mut rest = self.answer.get(..length).unwrap_or_default();
        let mut messages = Vec::new();
        while !rest.is_empty() {
            let message = Message::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            // The next one begins at a multiple of four.
            let taken = usize::try_from(message.header.length).unwrap_or(length).next_multiple_of(4).max(4);
            rest = rest.get(taken..).unwrap_or_default();
            messages.push(message);
        }
        Ok(messages)
    }

    fn is_answer(&self, message: &Message) -> bool {
        message.header.sequence_number == self.asked
    }
}

fn place_message(place: Place) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = place.interface;
    let destination = match place.address {
        IpAddr::V4(address) => {
            message.header.family = AddressFamily::Inet;
            NeighbourAddress::Inet(address)
        }
        IpAddr::V6(address) => {
            message.header.family = AddressFamily::Inet6;
            NeighbourAddress::Inet6(address)
        }
    };
    message.attributes.push(NeighbourAttribute::Destination(destination));
    message
}

fn place_of(found: &NeighbourMessage) -> Option<Place> {
    let address = found.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })?;
    Some(Place { address, interface: found.header.ifindex })
}

fn entry(found: &NeighbourMessage) -> Option<Entry> {
    let in_use = matches!(
        found.header.state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
    );
    let mac = found.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(octets) if in_use => {
            <[u8; 6]>::try_from(octets.as_slice()).ok().and_then(Mac::new)
        }
        _ => None,
    })?;
    Some(Entry { mac, is_permanent: found.header.state == NeighbourState::Permanent })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_entry_proves_nothing() {
        let mut found = NeighbourMessage::default();
        found.attributes.push(NeighbourAttribute::LinkLayerAddress(vec![0, 0x15, 0x65, 1, 2, 3]));
        found.header.state = NeighbourState::Failed;
        assert_eq!(entry(&found), None);
        found.header.state = NeighbourState::Stale;
        let stale = entry(&found).unwrap();
        assert_eq!((stale.mac.bare().as_str(), stale.is_permanent), ("001565010203", false));
        found.header.state = NeighbourState::Permanent;
        assert!(entry(&found).unwrap().is_permanent);
    }

    #[test]
    fn the_kernel_answers_one_question_after_the_other() {
        let mut netlink = Netlink::open().unwrap();
        let nobody = Place { address: IpAddr::from([127, 0, 0, 2]), interface: 1 };
        for _ in 0..3 {
            assert_eq!(netlink.entry(nobody), None);
            let table = netlink.table().unwrap();
            assert!(table.iter().all(|(place, mac)| netlink.entry(*place).is_none_or(|now| now.mac == *mac)));
        }
        let _ = netlink.may_set();
    }
}
