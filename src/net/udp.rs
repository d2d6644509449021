//! A UDP socket that knows where a datagram arrived (interface and destination address) and can answer from there:
//! on a host with several addresses the kernel's own choice is often the wrong one.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, recvmsg,
    sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// What a socket asks of the kernel as its receive buffer: a storm of 5,000 phones must fit, because a lost first
/// packet costs a phone seconds. Above `net.core.rmem_max` it needs `CAP_NET_ADMIN`; without, the kernel clamps it.
pub(super) const RECEIVE_BUFFER_BYTES: usize = 16 * 1024 * 1024;

/// Through which interface, and from which of our addresses, a datagram leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Via {
    /// The interface's index; 0 leaves it to the route.
    pub interface: u32,
    /// The sending address; `None` takes the interface's own.
    pub source: Option<IpAddr>,
}

/// A datagram that arrived; its bytes are in the buffer that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// How many bytes of the buffer it fills.
    pub len: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// To which address it was sent: ours, or a group's.
    pub local: IpAddr,
    /// On which interface it came in.
    pub interface: u32,
}

/// A UDP socket with arrival information.
#[derive(Debug)]
pub struct UdpEndpoint {
    socket: UdpSocket,
    receive_buffer_bytes: usize,
}

impl UdpEndpoint {
    /// Binds `address` alone (no address reuse).
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::bind_with(address, |_| Ok(()))
    }

    /// Binds `address` with the receive buffer that the kernel usually gives: for a socket of one exchange with one
    /// peer, of which there may be thousands.
    pub fn bind_small(address: SocketAddr) -> io::Result<Self> {
        Self::open(address, |_| Ok(()), |_| Ok(()))
    }

    /// Binds `address` after `prepare` has set what must be set before binding.
    pub fn bind_with(
        address: SocketAddr,
        prepare: impl FnOnce(&Socket) -> io::Result<()>,
    ) -> io::Result<Self> {
        Self::open(address, prepare, |socket| {
            if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).is_err() {
                socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
            }
            Ok(())
        })
    }

    fn open(
        address: SocketAddr,
        prepare: impl FnOnce(&Socket) -> io::Result<()>,
        enlarge: impl FnOnce(&Socket) -> io::Result<()>,
    ) -> io::Result<Self> {
        let socket =
            Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        match address {
            SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => {
                socket.set_only_v6(true)?;
                setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            }
        }
        prepare(&socket)?;
        socket.bind(&address.into())?;
        enlarge(&socket)?;
        // The kernel reports twice what it grants, because it counts its own bookkeeping.
        let receive_buffer_bytes = socket.recv_buffer_size()? / 2;
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, receive_buffer_bytes })
    }

    /// The address and port it is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// How large the receive buffer came out.
    pub fn receive_buffer_bytes(&self) -> usize {
        self.receive_buffer_bytes
    }

    /// Whether the kernel granted less receive buffer than a storm needs.
    pub fn is_clamped(&self) -> bool {
        self.receive_buffer_bytes < RECEIVE_BUFFER_BYTES
    }

    /// Hears `group` on this interface.
    pub fn join(&self, group: Ipv4Addr, interface: u32) -> io::Result<()> {
        SockRef::from(&self.socket).join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(interface))
    }

    /// Stops hearing `group` on this interface.
    pub fn leave(&self, group: Ipv4Addr, interface: u32) -> io::Result<()> {
        SockRef::from(&self.socket).leave_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(interface))
    }

    /// Lets [`UdpEndpoint::recv`] fail when the network says that a datagram did not arrive: nobody on that port, no way
    /// there. Without it only a connected socket is told.
    pub fn hear_errors(&self) -> io::Result<()> {
        Ok(setsockopt(&self.socket, sockopt::Ipv4RecvErr, &true)?)
    }

    /// Only datagrams of this peer are heard from now on.
    pub fn connect(&self, peer: SocketAddr) -> io::Result<()> {
        SockRef::from(&self.socket).connect(&peer.into())
    }

    /// Waits for the next datagram.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<Datagram> {
        self.socket.async_io(Interest::READABLE, || receive(&self.socket, buffer)).await
    }

    /// Sends one datagram.
    pub async fn send(&self, bytes: &[u8], to: SocketAddr, via: Option<Via>) -> io::Result<usize> {
        self.send_now_or_later(|| transmit(&self.socket, bytes, to, via, None)).await
    }

    /// Sends `bytes` as datagrams of `segment_bytes` each (the last may be shorter) with one call, by the kernel's
    /// generic segmentation offload. At most 64 segments and 65,507 bytes.
    pub async fn send_segments(
        &self,
        bytes: &[u8],
        segment_bytes: u16,
        to: SocketAddr,
        via: Option<Via>,
    ) -> io::Result<usize> {
        self.send_now_or_later(|| transmit(&self.socket, bytes, to, via, Some(segment_bytes))).await
    }

    /// A datagram nearly always leaves at once, so that is tried first: a socket that has just been made is not yet
    /// known to be writable, and would cost a turn of the reactor.
    async fn send_now_or_later(&self, send: impl Fn() -> io::Result<usize>) -> io::Result<usize> {
        match send() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.socket.async_io(Interest::WRITABLE, send).await
            }
            done => done,
        }
    }
}

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Datagram> {
    let mut control = nix::cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo);
    let mut slices = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::empty())?;
    let mut arrival = (IpAddr::from([0, 0, 0, 0]), 0);
    for part in message.cmsgs()? {
        match part {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let address = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                arrival = (IpAddr::V4(address), u32::try_from(info.ipi_ifindex).unwrap_or(0));
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                arrival = (IpAddr::from(info.ipi6_addr.s6_addr), info.ipi6_ifindex);
            }
            _ => {}
        }
    }
    let from = message.address.as_ref().and_then(socket_addr).ok_or_else(|| io::Error::other("no sender"))?;
    Ok(Datagram { len: message.bytes, from, local: arrival.0, interface: arrival.1 })
}

fn transmit(
    socket: &UdpSocket,
    bytes: &[u8],
    to: SocketAddr,
    via: Option<Via>,
    segment_bytes: Option<u16>,
) -> io::Result<usize> {
    let slices = [IoSlice::new(bytes)];
    let fd = socket.as_raw_fd();
    let segments = segment_bytes.as_ref().map(ControlMessage::UdpGsoSegments);
    let sent = match to {
        SocketAddr::V4(to) => {
            let info = via.map(packet_info_v4);
            let control: Vec<ControlMessage<'_>> =
                info.as_ref().map(ControlMessage::Ipv4PacketInfo).into_iter().chain(segments).collect();
            sendmsg(fd, &slices, &control, MsgFlags::empty(), Some(&SockaddrIn::from(to)))
        }
        SocketAddr::V6(to) => {
            let info = via.map(packet_info_v6);
            let control: Vec<ControlMessage<'_>> =
                info.as_ref().map(ControlMessage::Ipv6PacketInfo).into_iter().chain(segments).collect();
            sendmsg(fd, &slices, &control, MsgFlags::empty(), Some(&SockaddrIn6::from(to)))
        }
    };
    Ok(sent?)
}

fn packet_info_v4(via: Via) -> libc::in_pktinfo {
    let source = match via.source {
        Some(IpAddr::V4(address)) => address,
        _ => Ipv4Addr::UNSPECIFIED,
    };
    libc::in_pktinfo {
        ipi_ifindex: i32::try_from(via.interface).unwrap_or(0),
        ipi_spec_dst: libc::in_addr { s_addr: u32::from(source).to_be() },
        ipi_addr: libc::in_addr { s_addr: 0 },
    }
}

fn packet_info_v6(via: Via) -> libc::in6_pktinfo {
    let source = match via.source {
        Some(IpAddr::V6(address)) => address.octets(),
        _ => [0; 16],
    };
    libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: source }, ipi6_ifindex: via.interface }
}

fn socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::V4(SocketAddrV4::from(*v4)));
    }
    address.as_sockaddr_in6().map(|v6| SocketAddr::V6(SocketAddrV6::from(*v6)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 0))
    }

    #[tokio::test]
    async fn an_answer_leaves_from_the_address_that_was_asked() {
        let server = UdpEndpoint::bind(SocketAddr::from(([0, 0, 0, 0], 0))).unwrap();
        let client = UdpEndpoint::bind(loopback(1)).unwrap();
        let asked = SocketAddr::from(([127, 0, 0, 7], server.local_addr().unwrap().port()));
        client.send(b"ask", asked, None).await.unwrap();
        let mut buffer = [0; 64];
        let datagram = server.recv(&mut buffer).await.unwrap();
        assert_eq!((datagram.len, datagram.local), (3, asked.ip()));
        assert!(datagram.interface > 0);
        let via = Via { interface: datagram.interface, source: Some(datagram.local) };
        server.send(b"reply", datagram.from, Some(via)).await.unwrap();
        assert_eq!(client.recv(&mut buffer).await.unwrap().from, asked);
    }

    #[tokio::test]
    async fn one_call_sends_many_segments() {
        let (sender, receiver) =
            (UdpEndpoint::bind(loopback(1)).unwrap(), UdpEndpoint::bind(loopback(1)).unwrap());
        sender.send_segments(&[7; 25], 10, receiver.local_addr().unwrap(), None).await.unwrap();
        let mut buffer = [0; 64];
        for expected in [10, 10, 5] {
            assert_eq!(receiver.recv(&mut buffer).await.unwrap().len, expected);
        }
    }
}
