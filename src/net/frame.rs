//! What packet sockets have in common: opening one behind a filter, the steps of such a filter, and taking the headers
//! off what comes.

use std::io::{self, IoSliceMut};
use std::net::SocketAddrV4;
use std::os::fd::AsRawFd;

use nix::sys::socket::{LinkAddr, MsgFlags, recvmsg, setsockopt, sockopt};
use pnet::packet::Packet;
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::udp::UdpPacket;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::udp::RECEIVE_BUFFER_BYTES;

/// An IPv4 header without options, and the UDP header.
pub(super) const IP_BYTES: usize = 20;
pub(super) const UDP_BYTES: usize = 8;

/// The words of a classic BPF program.
pub(super) mod step {
    pub(in crate::net) const LOAD_BYTE: u16 = 0x30;
    pub(in crate::net) const LOAD_HALF: u16 = 0x28;
    pub(in crate::net) const LOAD_WORD: u16 = 0x20;
    pub(in crate::net) const LOAD_HEADER_LENGTH: u16 = 0xb1;
    pub(in crate::net) const LOAD_HALF_BEHIND_HEADER: u16 = 0x48;
    pub(in crate::net) const JUMP_IF_EQUAL: u16 = 0x15;
    pub(in crate::net) const JUMP_IF_ANY_BIT: u16 = 0x45;
    pub(in crate::net) const RETURN: u16 = 0x06;
    /// Where the kernel shows the Ethernet type, the kind of packet and the VLAN (`SKF_AD_OFF` + `SKF_AD_PROTOCOL`,
    /// `_PKTTYPE`, `_VLAN_TAG`).
    pub(in crate::net) const ETHER_TYPE: u32 = 0xffff_f000;
    pub(in crate::net) const PACKET_KIND: u32 = 0xffff_f004;
    pub(in crate::net) const VLAN_TAG: u32 = 0xffff_f02c;
    /// A kind of packet: a frame for somebody else, or of a VLAN that this host has no interface for.
    pub(in crate::net) const OTHER_HOST: u32 = 3;
}

/// How every filter ends: what got so far is taken, unless it is for another host; the last step refuses, for whoever jumps
/// there.
pub(super) fn ending() -> [SockFilter; 4] {
    let step = SockFilter::new;
    [
        step(step::LOAD_WORD, 0, 0, step::PACKET_KIND),
        step(step::JUMP_IF_EQUAL, 1, 0, step::OTHER_HOST),
        step(step::RETURN, 0, 0, u32::MAX),
        step(step::RETURN, 0, 0, 0),
    ]
}

/// A packet socket, with the receive buffer of a storm; whether the kernel granted less of it. A datagram one sees what is
/// behind the Ethernet header, a raw one whole frames. With protocol 0 it hears nothing until it is bound.
pub(super) fn open(kind: Type, protocol: i32, filter: &[SockFilter]) -> io::Result<(Socket, bool)> {
    let socket = Socket::new(Domain::PACKET, kind, Some(Protocol::from(protocol)))?;
    socket.set_nonblocking(true)?;
    socket.attach_filter(filter)?;
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    }
    let is_clamped = socket.recv_buffer_size()? / 2 < RECEIVE_BUFFER_BYTES;
    Ok((socket, is_clamped))
}

/// Reads one packet of at most so many octets into `buffer`, with what the kernel says about its link.
pub(super) fn receive(
    socket: &Socket,
    buffer: &mut Vec<u8>,
    bytes_max: usize,
) -> io::Result<Option<LinkAddr>> {
    buffer.resize(bytes_max, 0);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut slices, None, MsgFlags::empty())?;
    let (len, link) = (message.bytes, message.address);
    buffer.truncate(len);
    Ok(link)
}

/// By which interface.
pub(super) fn interface_of(link: Option<&LinkAddr>) -> u32 {
    link.map_or(0, |link| u32::try_from(link.ifindex()).unwrap_or(0))
}

/// Leaves a datagram's payload alone in `buffer`, and says from where to where it went. `None` for what is no UDP, or lies
/// about its length. The checksum is not looked at: between hosts of one machine the network card that would have to
/// calculate it does not exist.
pub(super) fn unwrap(buffer: &mut Vec<u8>) -> Option<(SocketAddrV4, SocketAddrV4)> {
    let ip = Ipv4Packet::new(buffer)?;
    let header_bytes = usize::from(ip.get_header_length()) * 4;
    let is_udp = ip.get_next_level_protocol() == IpNextHeaderProtocols::Udp
        && header_bytes >= IP_BYTES
        && ip.get_fragment_offset() == 0;
    let udp = UdpPacket::new(buffer.get(header_bytes..)?).filter(|_| is_udp)?;
    let from = SocketAddrV4::new(ip.get_source(), udp.get_source());
    let to = SocketAddrV4::new(ip.get_destination(), udp.get_destination());
    let len = usize::from(udp.get_length()).checked_sub(UDP_BYTES)?;
    if udp.payload().len() < len {
        return None;
    }
    buffer.drain(..header_bytes + UDP_BYTES);
    buffer.truncate(len);
    Some((from, to))
}
