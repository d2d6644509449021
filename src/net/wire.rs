//! Hears and sends the UDP datagrams of two ports on every interface's link with a packet socket (`CAP_NET_RAW`). No port
//! is bound: a server on the same host keeps its own, and hears and says everything as before. What this host itself
//! sends is heard too, except by this socket.

use std::io;
use std::net::SocketAddrV4;

use nix::libc;
use pnet::packet::ethernet::EtherTypes;
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::{self, MutableIpv4Packet};
use pnet::packet::udp::{self, MutableUdpPacket};
use socket2::{SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::frame::{self, IP_BYTES, UDP_BYTES, step};
use super::sys;
use crate::device::Mac;

/// One Ethernet frame's payload: nothing that is longer comes in one piece.
const FRAME_BYTES_MAX: usize = 1_500;
/// Hops of what is sent: the next router may be the client's relay.
const TIME_TO_LIVE: u8 = 64;

/// A packet socket for two ports: a question's and its answer's.
#[derive(Debug)]
pub struct Wire {
    socket: AsyncFd<Socket>,
    is_clamped: bool,
}

/// A datagram as it was on a link; its payload is in the buffer that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// By which interface.
    pub interface: u32,
    /// The hardware address of who put it on the link.
    pub sender: Option<Mac>,
    /// Whether this host sent it.
    pub is_own_hosts: bool,
    /// From which address and port.
    pub from: SocketAddrV4,
    /// To which address and port.
    pub to: SocketAddrV4,
}

/// To whom on the link a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    /// This host.
    Host(Mac),
    /// Everybody.
    Everybody,
}

impl Wire {
    /// Listens to both ports on every interface. `PermissionDenied` without `CAP_NET_RAW`.
    pub fn open(ports: [u16; 2]) -> io::Result<Self> {
        let (socket, is_clamped) = frame::open(Type::DGRAM, 0, &filter(ports))?;
        // Only a socket for all protocols hears what this host itself sends.
        let everything = u16::try_from(libc::ETH_P_ALL).unwrap_or_default();
        socket.bind(&sys::on_link(0, everything, None))?;
        #[expect(deprecated, reason = "sound for a socket that this value owns and never lends out")]
        let socket = AsyncFd::new(socket)?;
        Ok(Self { socket, is_clamped })
    }

    /// Whether the kernel granted less receive buffer than a storm needs.
    pub fn is_clamped(&self) -> bool {
        self.is_clamped
    }

    /// Waits for the next datagram; its payload alone stays in `buffer`.
    pub async fn recv(&self, buffer: &mut Vec<u8>) -> io::Result<Frame> {
        loop {
            let read = |socket: &Socket| frame::receive(socket, buffer, FRAME_BYTES_MAX);
            let link = self.socket.async_io(Interest::READABLE, read).await?;
            if let Some((from, to)) = frame::unwrap(buffer) {
                return Ok(Frame {
                    interface: frame::interface_of(link.as_ref()),
                    sender: link.and_then(|link| link.addr()).and_then(Mac::new),
                    is_own_hosts: link.is_some_and(|link| link.pkttype() == libc::PACKET_OUTGOING),
                    from,
                    to,
                });
            }
        }
    }

    /// Sends one datagram on an interface's link. The queue of an interface may be full; then it is an error, and the
    /// other side asks again.
    pub fn send(
        &self,
        interface: u32,
        receiver: Receiver,
        from: SocketAddrV4,
        to: SocketAddrV4,
        payload: &[u8],
    ) -> io::Result<()> {
        let frame = wrap(from, to, payload).ok_or(io::ErrorKind::InvalidInput)?;
        let host = match receiver {
            Receiver::Host(mac) => Some(mac),
            Receiver::Everybody => None,
        };
        let link = sys::on_link(interface, EtherTypes::Ipv4.0, host);
        self.socket.get_ref().send_to(&frame, &link).map(|_| ())
    }
}

/// Puts the headers on. `None` for what does not fit into one frame.
pub(super) fn wrap(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Option<Vec<u8>> {
    let len = IP_BYTES + UDP_BYTES + payload.len();
    let total = u16::try_from(len).ok().filter(|_| len <= FRAME_BYTES_MAX)?;
    let mut frame = vec![0; len];
    let (head, body) = frame.split_at_mut(IP_BYTES);
    let mut udp = MutableUdpPacket::new(body)?;
    udp.set_source(from.port());
    udp.set_destination(to.port());
    udp.set_length(total - 20);
    udp.set_payload(payload);
    let checksum = udp::ipv4_checksum(&udp.to_immutable(), from.ip(), to.ip());
    // Zero would say that there is none (RFC 768).
    udp.set_checksum(if checksum == 0 { u16::MAX } else { checksum });
    let mut ip = MutableIpv4Packet::new(head)?;
    ip.set_version(4);
    ip.set_header_length(5);
    ip.set_total_length(total);
    ip.set_ttl(TIME_TO_LIVE);
    ip.set_next_level_protocol(IpNextHeaderProtocols::Udp);
    ip.set_source(*from.ip());
    ip.set_destination(*to.ip());
    ip.set_checksum(ipv4::checksum(&ip.to_immutable()));
    Some(frame)
}

/// The classic BPF program: unfragmented IPv4 UDP to one of the ports, meant for this host, for everybody, or sent by
/// this host. It runs on the IPv4 header, because the socket is a datagram one.
///
/// A socket for all protocols is shown the frames of every VLAN on the port that they come by as well, before they reach
/// their own interface: that is another network, whose clients and servers are none of this one's.
fn filter([question, answer]: [u16; 2]) -> [SockFilter; 16] {
    use step::{
        ETHER_TYPE, JUMP_IF_ANY_BIT, JUMP_IF_EQUAL, LOAD_BYTE, LOAD_HALF, LOAD_HALF_BEHIND_HEADER,
        LOAD_HEADER_LENGTH, LOAD_WORD, VLAN_TAG,
    };
    /// The VLAN's number in its tag; none with a priority alone.
    const VLAN_NUMBER: u32 = 0x0fff;
    let step = SockFilter::new;
    let [kind, another, take, refuse] = frame::ending();
    [
        step(LOAD_WORD, 0, 0, ETHER_TYPE),
        step(JUMP_IF_EQUAL, 0, 13, u32::from(EtherTypes::Ipv4.0)),
        step(LOAD_WORD, 0, 0, VLAN_TAG),
        step(JUMP_IF_ANY_BIT, 11, 0, VLAN_NUMBER),
        step(LOAD_BYTE, 0, 0, 9),
        step(JUMP_IF_EQUAL, 0, 9, 17),
        // More fragments to come, or not the first one.
        step(LOAD_HALF, 0, 0, 6),
        step(JUMP_IF_ANY_BIT, 7, 0, 0x3fff),
        step(LOAD_HEADER_LENGTH, 0, 0, 0),
        step(LOAD_HALF_BEHIND_HEADER, 0, 0, 2),
        step(JUMP_IF_EQUAL, 1, 0, u32::from(question)),
        step(JUMP_IF_EQUAL, 0, 3, u32::from(answer)),
        kind,
        another,
        take,
        refuse,
    ]
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};

    use pnet::packet::Packet;
    use pnet::packet::ipv4::Ipv4Packet;

    use super::*;

    const FROM: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 45_068);

    #[test]
    fn what_is_wrapped_can_be_unwrapped_and_has_right_checksums() {
        let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
        let mut frame = wrap(FROM, to, b"a question").unwrap();
        let ip = Ipv4Packet::new(&frame).unwrap();
        assert_eq!(ip.get_checksum(), ipv4::checksum(&ip));
        let udp = udp::UdpPacket::new(ip.payload()).unwrap();
        assert_eq!(udp.get_checksum(), udp::ipv4_checksum(&udp, FROM.ip(), to.ip()));
        assert_eq!(frame::unwrap(&mut frame), Some((FROM, to)));
        assert_eq!(frame, b"a question");
        assert_eq!(wrap(FROM, to, &[0; 1_473]), None);
    }

    #[test]
    fn no_frame_makes_it_read_beyond_its_end() {
        let whole = wrap(FROM, FROM, &[7; 300]).unwrap();
        for len in 0..whole.len() {
            assert_eq!(frame::unwrap(&mut whole[..len].to_vec()), None, "{len} octets");
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x45, 0x4f, 0xff] {
                let mut frame = whole.clone();
                frame[at] = value;
                frame::unwrap(&mut frame);
            }
        }
    }

    #[tokio::test]
    async fn both_ports_are_heard_beside_their_holder_and_nothing_else_is() {
        let wire = match Wire::open([45_067, 45_068]) {
            Ok(wire) => wire,
            Err(error) => return assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}"),
        };
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 45_067)).unwrap();
        let client = UdpSocket::bind(FROM).unwrap();
        client.send_to(b"elsewhere", (Ipv4Addr::LOCALHOST, 45_069)).unwrap();
        client.send_to(b"a question", (Ipv4Addr::LOCALHOST, 45_067)).unwrap();
        server.send_to(b"an answer", FROM).unwrap();
        let mut heard = Vec::new();
        let mut buffer = Vec::new();
        while heard.last().is_none_or(|last| last != "an answer") {
            let frame = wire.recv(&mut buffer).await.unwrap();
            heard.push(String::from_utf8(buffer.clone()).unwrap());
            assert!([frame.from.port(), frame.to.port()].contains(&45_067));
        }
        heard.dedup();
        // On loopback every frame is heard twice: as it leaves, and as it comes in.
        assert_eq!(heard, ["a question", "an answer"]);
        let mut kept = [0; 64];
        assert_eq!(server.recv(&mut kept).unwrap(), "a question".len());
    }
}
